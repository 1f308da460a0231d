//! From what was typed to what is built: the one place where docker's spellings become [`Target`]s.
//!
//! Relative paths mean what they would in a shell that stands where the build is started: in the checkout with
//! `--repo`, else in the current directory. Only what never lies in a checkout (secrets, agents' sockets, the bake
//! file) is always relative to the current directory, or, of secrets that a bake file names, to where that file lies.

use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::agents;
use super::allow;
use super::bake::baked;
use super::context::{absolute, source_from};
use super::line;
use super::moved;
use super::secrets;
use super::settings::{BuildSettings, Environment, Given, SourceSettings};
use super::surroundings;
use crate::child;
use crate::failure::{Explain, Failure, Kind};
use crate::plan::Build;
use crate::source::SourceSpec;
use crate::targets::{Context, Dockerfile, Donor, NamedContext, SecretSource, SshAgent, Target, flags};
use crate::units;

/// What is built, and what a person should know about it.
///
/// # Errors
/// A usage error that names the place of what is wrong.
pub(crate) fn build_from(
    source: &SourceSettings,
    build: &BuildSettings,
    environment: &Environment,
) -> anyhow::Result<(Build, Vec<String>)> {
    let (ssh_auth_sock, modes) = (source.ssh_auth_sock.clone(), source.modes);
    let (settings, build, mut warnings) = line::applied(source, build)?;
    let (source, context) = source_from(&settings, &build)?;
    let (targets, more) = targets_from(&build, &source, context, environment)?;
    warnings.extend(more);
    let arguments = targets.iter().flat_map(|target| target.build_args.keys()).map(String::as_str);
    child::withhold(secrets::withheld(targets.iter().flat_map(|target| &target.secrets), arguments));
    let secrets = secrets::of_targets(&targets, environment);
    Ok((Build { source, modes, targets, secrets, public: build.public.clone(), ssh_auth_sock }, warnings))
}

/// The builds, and what a person should know about them.
///
/// A target comes after the targets it takes contexts from.
///
/// # Errors
/// A usage error when a value cannot be read, when flags contradict each other, or when the bake file is at fault.
pub(super) fn targets_from(
    build: &BuildSettings,
    source: &SourceSpec,
    context: Context,
    environment: &Environment,
) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    let (mut targets, warnings) = match &build.bake {
        Some(files) => {
            let (mut targets, warnings) = targets_of_bake(files, build, environment)?;
            moved::apply(&mut targets, &build.path_map)?;
            targets.iter_mut().try_for_each(|target| root_in(&[Path::new(".")], target))?;
            (targets, warnings)
        }
        None => (targets_of_flags(build, source, context, environment)?, Vec::new()),
    };
    if build.bake.is_none() {
        targets.iter_mut().try_for_each(|target| root_in(&[Path::new(".")], target))?;
    }
    if build.bake.is_some() {
        allow::ensure(&targets, source, build.allow.as_ref().map_or(&[][..], |given| &given.value))?;
        add_to_bake(&mut targets, build, environment)?;
    }
    targets.iter().try_for_each(agents::ensure)?;
    override_everywhere(&mut targets, build)?;
    surroundings::add_to(&mut targets, environment)?;
    Ok((targets, warnings))
}

fn targets_of_flags(
    build: &BuildSettings,
    source: &SourceSpec,
    context: Context,
    environment: &Environment,
) -> anyhow::Result<Vec<Target>> {
    if let Some(names) = &build.bake_target {
        return Err(names.refused("there is no bake file", "add --bake FILE.json, or name a stage with --target"));
    }
    let value_of = |name: &str| environment.text(name).ok().flatten();

    let mut common = Target::new("default", context);
    common.dockerfile = Dockerfile::Path(one(&build.file, "the path of a file", dockerfile)?);
    let arguments =
        each(&build.build_arg, "K=V, or K to take it from the environment", |text| flags::build_arg(text, value_of))?;
    common.build_args = arguments.into_iter().flatten().collect();
    common.labels = each(&build.label, "K=V", flags::label)?.into_iter().collect();
    common.platforms = each(&build.platform, "OS/ARCH[/VARIANT]", flags::platforms)?.concat();
    if let (None, Some(usual)) = (&build.platform, environment.filled("DOCKER_DEFAULT_PLATFORM")?) {
        let hint = "set DOCKER_DEFAULT_PLATFORM to OS/ARCH[/VARIANT]";
        common.platforms =
            flags::platforms(&usual).explain(Kind::Usage, "could not use DOCKER_DEFAULT_PLATFORM", hint)?;
    }
    let is_outside_of_a_checkout = !matches!(source, SourceSpec::Repository { .. });
    let contexts = "NAME=DIR, NAME=docker-image://REF or NAME=URL";
    for (name, mut named) in each(&build.build_context, contexts, flags::build_context)? {
        // Like the context itself, and unlike docker's -f, it never lies in another directory than the shell's.
        if let (NamedContext::Local(path), true) = (&mut named, is_outside_of_a_checkout) {
            *path = absolute(path)?;
        }
        common.named_contexts.insert(name, named);
    }
    (common.secrets, common.ssh) = secrets_and_agents(build, environment)?;
    if let (Context::Remote(url), true) = (&common.context, common.ssh.is_empty()) {
        common.ssh.extend(flags::agent_of(url));
    }
    common.network = one(&build.network, "default, none or host", flags::network)?.flatten();
    common.shm_size = one(&build.shm_size, "a size such as 64m", units::size)?;
    common.cgroup_parent = build.cgroup_parent.as_ref().map(|given| given.value.clone());
    common.ulimits = each(&build.ulimit, "NAME=SOFT or NAME=SOFT:HARD", flags::ulimit)?;
    common.extra_hosts = each(&build.add_host, "HOST:ADDRESS", flags::add_host)?.concat();
    common.no_cache_stages = build.no_cache_filter.as_ref().map(|given| given.value.clone()).unwrap_or_default();

    let mut stages: Vec<&String> = Vec::new();
    for stage in build.target.iter().flat_map(|given| &given.value) {
        if !stage.is_empty() && !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    if stages.is_empty() {
        return Ok(vec![common]);
    }
    let named = |stage: &String| Target { name: stage.clone(), stage: Some(stage.clone()), ..common.clone() };
    Ok(stages.into_iter().map(named).collect())
}

/// Adds the secrets and agents of flags to the targets of a bake file; one of the same id takes the place of theirs.
fn add_to_bake(targets: &mut [Target], build: &BuildSettings, environment: &Environment) -> anyhow::Result<()> {
    let (secrets, ssh) = secrets_and_agents(build, environment)?;
    for target in targets {
        target.secrets.retain(|known| !secrets.iter().any(|secret| secret.id == known.id));
        target.secrets.extend(secrets.iter().cloned());
        target.ssh.retain(|known| !ssh.iter().any(|agent| agent.id == known.id));
        target.ssh.extend(ssh.iter().cloned());
        root_in(&[Path::new(".")], target)?;
    }
    Ok(())
}

fn secrets_and_agents(
    build: &BuildSettings,
    environment: &Environment,
) -> anyhow::Result<(Vec<SecretSource>, Vec<SshAgent>)> {
    let is_variable = |name: &str| environment.text(name).ok().flatten().is_some();
    let secrets = each(&build.secret, "id=ID,src=FILE or id=ID,env=VARIABLE", |text| flags::secret(text, is_variable))?;
    Ok((secrets, each(&build.ssh, "default, ID or ID=SOCKET", flags::ssh)?))
}

fn dockerfile(text: &str) -> anyhow::Result<PathBuf> {
    ensure!(text != "-", "a Dockerfile from standard input cannot be warmed");
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    ensure!(!is_url, "a Dockerfile from a URL is not supported: download it first");
    Ok(PathBuf::from(text))
}

fn targets_of_bake(
    files: &Given<Vec<String>>,
    build: &BuildSettings,
    environment: &Environment,
) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    if let Some(origin) = build.fixed_beside_bake() {
        return Err(Failure::new(
            Kind::Usage,
            format!("could not use {origin}: the bake file says what is built"),
            "change the bake file, or leave --bake out and give the whole build by flags",
        ));
    }
    baked(files, build.bake_call.as_ref(), build.bake_target.as_ref(), environment)
}

/// Makes the paths absolute that never lie in a checkout. Those of secrets lead from the first of `folders` that has the
/// file; those of sockets from the current directory.
pub(super) fn root_in(folders: &[&Path], target: &mut Target) -> anyhow::Result<()> {
    let folders = folders.iter().map(|folder| absolute(folder)).collect::<anyhow::Result<Vec<_>>>()?;
    let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    let hint = "write its path from the root on, such as /etc/token";
    secrets::locate(target, &folders).explain(Kind::Usage, "could not tell which file is a secret", hint)?;
    for path in target.ssh.iter_mut().flat_map(|agent| &mut agent.paths) {
        *path = absolute(path)?;
    }
    Ok(())
}

/// The donors of `--cache-from`.
///
/// # Errors
/// A usage error that names the place of what is no donor.
pub(super) fn donors(given: &Option<Given<Vec<String>>>) -> anyhow::Result<Vec<Donor>> {
    Ok(each(given, "REF or type=registry,ref=REF", flags::cache_from)?.concat())
}

/// What the command line may say about builds whatever they were read from.
fn override_everywhere(targets: &mut [Target], build: &BuildSettings) -> anyhow::Result<()> {
    let donors = donors(&build.cache_from)?;
    let allowed = build.allow.iter().flat_map(|given| &given.value);
    let entitlements = allowed.filter(|allowed| allow::is_entitlement(allowed));
    for target in targets {
        if !donors.is_empty() {
            target.donors.clone_from(&donors);
        }
        target.no_cache |= build.no_cache;
        for entitlement in entitlements.clone() {
            if !target.entitlements.contains(entitlement) {
                target.entitlements.push(entitlement.clone());
            }
        }
    }
    Ok(())
}

fn one<T>(
    given: &Option<Given<String>>,
    expected: &str,
    read: impl Fn(&str) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    given.as_ref().map(|given| Ok(given.read(expected, read)?.value)).transpose()
}

fn each<T>(
    given: &Option<Given<Vec<String>>>,
    expected: &str,
    read: impl Fn(&str) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    given.as_ref().map_or(Ok(Vec::new()), |given| given.read_each(expected, read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::Origin;
    use crate::targets::SecretOrigin;

    fn given<T>(value: T) -> Option<Given<T>> {
        Some(Given { value, origin: Origin::Flag("sample") })
    }

    fn source(repo: Option<&str>, context: Option<&str>) -> SourceSettings {
        let context = context.and_then(|context| given(context.to_owned()));
        SourceSettings { repo: repo.map(str::to_owned), context, ..SourceSettings::default() }
    }

    fn targets(build: &BuildSettings, repo: Option<&str>) -> anyhow::Result<Vec<Target>> {
        let (spec, context) = source_from(&source(repo, None), build).expect("the source is sound");
        Ok(targets_from(build, &spec, context, &Environment::holding(&[("FROM_ENVIRONMENT", "value")]))?.0)
    }

    #[test]
    fn paths_stay_below_a_checkout_and_are_absolute_without_one() {
        let plain = BuildSettings::default();
        let (_, context) = source_from(&source(Some("https://example.com/r"), Some("sub")), &plain).expect("sound");
        assert_eq!(context, Context::Local("sub".into()));
        let (spec, context) = source_from(&source(None, Some("/srv/app")), &plain).expect("sound");
        assert_eq!((spec, context), (SourceSpec::Directory("/srv/app".into()), Context::Local("/srv/app".into())));

        let build = BuildSettings {
            build_context: given(vec!["base=base".to_owned()]),
            secret: given(vec!["id=token,src=token.txt".to_owned()]),
            ..BuildSettings::default()
        };
        let resolved = |repo| {
            let target = targets(&build, repo).expect("sound").remove(0);
            let NamedContext::Local(context) = target.named_contexts["base"].clone() else { panic!("it is a path") };
            let SecretOrigin::File(secret) = target.secrets[0].from.clone() else { panic!("it is a path") };
            (context.is_absolute(), secret.is_absolute())
        };
        assert_eq!(resolved(Some("https://example.com/r")), (false, true));
        assert_eq!(resolved(None), (true, true));
    }

    #[test]
    fn several_stages_are_several_targets_of_the_same_build() {
        let build = BuildSettings {
            target: given(vec!["app".to_owned(), "docs".to_owned(), "app".to_owned()]),
            build_arg: given(vec!["K=V".to_owned(), "FROM_ENVIRONMENT".to_owned(), "ABSENT".to_owned()]),
            ..BuildSettings::default()
        };
        let targets = targets(&build, None).expect("sound");
        assert_eq!(targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), ["app", "docs"]);
        for target in targets {
            let arguments: Vec<_> = target.build_args.into_iter().collect();
            let expected = [("FROM_ENVIRONMENT", "value"), ("K", "V")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(arguments, expected);
        }
    }

    #[test]
    fn a_bake_file_and_flags_that_say_the_same_thing_twice_are_refused() {
        let build = BuildSettings {
            bake: given(vec!["bake.json".to_owned()]),
            label: Some(Given {
                value: vec!["a=b".to_owned()],
                origin: Origin::Variable("CACHEWARM_LABEL".to_owned()),
            }),
            ..BuildSettings::default()
        };
        let error = targets(&build, None).expect_err("refused");
        insta::assert_snapshot!(format!("{error:#}"), @"could not use CACHEWARM_LABEL: the bake file says what is built");
    }

    #[test]
    fn what_the_command_line_may_override_is_overridden_in_every_target_of_a_bake_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bake.json");
        let json = r#"{"group": {"default": {"targets": ["app", "docs"]}}, "target": {
            "app": {"context": ".", "cache-from": [{"type": "registry", "ref": "r.example/old"}]},
            "docs": {"context": "docs", "secret": [{"id": "token", "src": "token.txt"}]}}}"#;
        std::fs::write(&file, json).expect("it is written");
        let build = BuildSettings {
            bake: given(vec![file.display().to_string()]),
            cache_from: given(vec!["r.example/new".to_owned()]),
            allow: given(vec!["network.host".to_owned(), "fs.read=*".to_owned()]),
            no_cache: true,
            ..BuildSettings::default()
        };
        let targets = targets(&build, Some("https://example.com/r")).expect("sound");
        assert_eq!(targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), ["app", "docs"]);
        for target in &targets {
            assert_eq!(
                target.donors.iter().map(|donor| donor.reference.as_str()).collect::<Vec<_>>(),
                ["r.example/new"]
            );
            assert!(target.no_cache && target.entitlements.contains(&"network.host".to_owned()), "{target:?}");
        }
        let SecretOrigin::File(secret) = &targets[1].secrets[0].from else { panic!("it is a path") };
        assert!(secret.is_absolute());
    }

    #[test]
    fn a_value_that_docker_refuses_is_refused_with_its_place() {
        let build = BuildSettings { ulimit: given(vec!["nofiles=1".to_owned()]), ..BuildSettings::default() };
        insta::assert_snapshot!(targets(&build, None).expect_err("refused"), @"could not use --sample: invalid ulimit type: nofiles");
    }

    #[test]
    fn a_bake_target_needs_a_bake_file() {
        let build = BuildSettings { bake_target: given(vec!["app".to_owned()]), ..BuildSettings::default() };
        insta::assert_snapshot!(targets(&build, None).expect_err("refused"), @"could not use --sample: there is no bake file");
    }
}
