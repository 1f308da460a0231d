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
use super::line::Line;
use super::moved;
use super::policies;
use super::secrets;
use super::settings::{self, Given, OF_THE_BUILD, Sources};
use super::surroundings;
use crate::child;
use crate::failure::{Explain, Failure, Kind};
use crate::plan::Build;
use crate::source::SourceSpec;
use crate::targets::{Context, Dockerfile, Donor, NamedContext, SecretSource, SshAgent, Target, flags};
use crate::units;

/// What is built; and to `warnings` what a person should know about it.
///
/// # Errors
/// A usage error that names the place of what is wrong.
pub(crate) fn build_from(from: &Sources<'_>, warnings: &mut Vec<String>) -> anyhow::Result<Build> {
    let (source, context) = source_from(from)?;
    let targets = targets_from(from, &source, context, warnings)?;
    let arguments = targets.iter().flat_map(|target| target.build_args.keys()).map(String::as_str);
    child::withhold(secrets::withheld(targets.iter().flat_map(|target| &target.secrets), arguments));
    Ok(Build {
        source,
        modes: from.read("modes", ("git, disk or umask=000, say", str::parse))?,
        secrets: secrets::of_targets(&targets, from.environment),
        targets,
        policy: policies::source_policy(from)?,
        public: settings::public(from)?,
        ssh_auth_sock: from.environment.directory("SSH_AUTH_SOCK"),
    })
}

/// The builds; a target comes after the targets it takes contexts from.
fn targets_from(
    from: &Sources<'_>,
    source: &SourceSpec,
    context: Context,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Vec<Target>> {
    let mut allowed = from.many("allow")?.map_or(Vec::new(), |given| given.value);
    allowed.extend(from.line().map_or(Vec::new(), Line::allowed));
    let mut targets = match from.many("bake")? {
        Some(files) => targets_of_bake(from, &files, source, &allowed, warnings)?,
        None => targets_of_flags(from, source, context)?,
    };
    targets.iter().try_for_each(agents::ensure)?;
    let donors = donors(from, warnings)?;
    let no_cache = from.on("no-cache")? || from.line().is_some_and(Line::is_without_cache);
    let pulls = from.line().is_some_and(Line::is_pulling);
    let policy = from.read("policy", ("disabled=true", policies::rego))?;
    for target in &mut targets {
        if !donors.is_empty() {
            target.donors.clone_from(&donors);
        }
        target.no_cache |= no_cache;
        target.pulls |= pulls;
        target.policy = policy.unwrap_or(target.policy);
        for entitlement in allowed.iter().filter(|allowed| allow::is_entitlement(allowed)) {
            if !target.entitlements.contains(entitlement) {
                target.entitlements.push(entitlement.clone());
            }
        }
    }
    surroundings::add_to(&mut targets, from)?;
    Ok(targets)
}

fn targets_of_flags(from: &Sources<'_>, source: &SourceSpec, context: Context) -> anyhow::Result<Vec<Target>> {
    if let Some(names) = from.many("bake-target")? {
        return Err(names.refused("there is no bake file", "add --bake FILE.json, or name a stage with --target"));
    }
    let value_of = |name: &str| from.environment.text(name).ok().flatten();
    let argument = |text: &str| flags::build_arg(text, value_of);

    let mut common = Target::new("default", context);
    common.dockerfile = Dockerfile::Path(from.read("file", ("the path of a file", dockerfile))?);
    let arguments = from.each("build-arg", ("K=V, or K to take it from the environment", argument))?;
    common.build_args = arguments.into_iter().flatten().collect();
    common.labels = from.each("label", ("K=V", flags::label))?.into_iter().collect();
    common.platforms = from.each("platform", ("OS/ARCH[/VARIANT]", flags::platforms))?.concat();
    if let (None, Some(usual)) = (from.many("platform")?, from.environment.filled("DOCKER_DEFAULT_PLATFORM")?) {
        let hint = "set DOCKER_DEFAULT_PLATFORM to OS/ARCH[/VARIANT]";
        common.platforms =
            flags::platforms(&usual).explain(Kind::Usage, "could not use DOCKER_DEFAULT_PLATFORM", hint)?;
    }
    let is_outside_of_a_checkout = !matches!(source, SourceSpec::Repository { .. });
    let contexts = "NAME=DIR, NAME=docker-image://REF or NAME=URL";
    for (name, mut named) in from.each("build-context", (contexts, flags::build_context))? {
        // Like the context itself, and unlike docker's -f, it never lies in another directory than the shell's.
        if let (NamedContext::Local(path), true) = (&mut named, is_outside_of_a_checkout) {
            *path = absolute(path)?;
        }
        common.named_contexts.insert(name, named);
    }
    (common.secrets, common.ssh) = secrets_and_agents(from)?;
    if let (Context::Remote(url), true) = (&common.context, common.ssh.is_empty()) {
        common.ssh.extend(flags::agent_of(url));
    }
    common.network = from.read("network", ("default, none or host", flags::network))?.flatten();
    common.shm_size = from.read("shm-size", ("a size such as 64m", units::size))?;
    common.cgroup_parent = from.text("cgroup-parent")?;
    common.ulimits = from.each("ulimit", ("NAME=SOFT or NAME=SOFT:HARD", flags::ulimit))?;
    common.extra_hosts = from.each("add-host", ("HOST:ADDRESS", flags::add_host))?.concat();
    common.no_cache_stages = from.many("no-cache-filter")?.map_or(Vec::new(), |given| given.value);
    root_in(&[Path::new(".")], &mut common)?;

    let mut stages: Vec<String> = Vec::new();
    for stage in from.many("target")?.into_iter().flat_map(|given| given.value) {
        if !stage.is_empty() && !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    if stages.is_empty() {
        return Ok(vec![common]);
    }
    let named = |stage: String| Target { name: stage.clone(), stage: Some(stage), ..common.clone() };
    Ok(stages.into_iter().map(named).collect())
}

fn secrets_and_agents(from: &Sources<'_>) -> anyhow::Result<(Vec<SecretSource>, Vec<SshAgent>)> {
    let is_variable = |name: &str| from.environment.text(name).ok().flatten().is_some();
    let secret = |text: &str| flags::secret(text, is_variable);
    let secrets = from.each("secret", ("id=ID,src=FILE or id=ID,env=VARIABLE", secret))?;
    Ok((secrets, from.each("ssh", ("default, ID, ID=SOCKET or ID=KEY,KEY", flags::ssh))?))
}

fn dockerfile(text: &str) -> anyhow::Result<PathBuf> {
    ensure!(text != "-", "a Dockerfile from standard input cannot be warmed");
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    ensure!(!is_url, "a Dockerfile from a URL is not supported: download it first");
    Ok(PathBuf::from(text))
}

/// The builds of bake files. What they ask for has to be allowed; what flags add does not.
fn targets_of_bake(
    from: &Sources<'_>,
    files: &Given<Vec<String>>,
    source: &SourceSpec,
    allowed: &[String],
    warnings: &mut Vec<String>,
) -> anyhow::Result<Vec<Target>> {
    if let Some(origin) = from.strongest_of(&OF_THE_BUILD)? {
        return Err(Failure::new(
            Kind::Usage,
            format!("could not use {origin}: the bake file says what is built"),
            "change the bake file, or leave --bake out and give the whole build by flags",
        ));
    }
    let (mut targets, more) = baked(from, files)?;
    warnings.extend(more);
    if let Some(maps) = from.many("path-map")? {
        moved::apply(&mut targets, &maps)?;
    }
    allow::ensure(&targets, source, allowed)?;
    let (secrets, ssh) = secrets_and_agents(from)?;
    for target in targets.iter_mut().filter(|_| !secrets.is_empty() || !ssh.is_empty()) {
        // One of the same id takes the place of theirs.
        target.secrets.retain(|known| !secrets.iter().any(|secret| secret.id == known.id));
        target.secrets.extend(secrets.iter().cloned());
        target.ssh.retain(|known| !ssh.iter().any(|agent| agent.id == known.id));
        target.ssh.extend(ssh.iter().cloned());
        root_in(&[Path::new(".")], target)?;
    }
    Ok(targets)
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

/// The donors of `--cache-from`, else of CI's own line; and to `warnings` which of those are left out.
///
/// # Errors
/// A usage error that names the place of what is no donor.
pub(super) fn donors(from: &Sources<'_>, warnings: &mut Vec<String>) -> anyhow::Result<Vec<Donor>> {
    let given = match from.many("cache-from")? {
        None => from.line().map(|line| line.caches(warnings)),
        given => given,
    };
    let read = |given: Given<Vec<String>>| {
        given.read_each("REF, type=registry,ref=REF or type=local,src=DIR", flags::cache_from)
    };
    Ok(given.map_or(Ok(Vec::new()), read)?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::Environment;
    use crate::targets::SecretOrigin;

    fn targets(words: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Vec<Target>> {
        let environment = Environment::holding(variables);
        let from = Sources::typed("warm", words, &environment)?;
        build_from(&from, &mut Vec::new()).map(|build| build.targets)
    }

    #[test]
    fn paths_stay_below_a_checkout_and_are_absolute_without_one() {
        let context = |words: &[&str]| targets(words, &[]).expect("sound").remove(0).context;
        assert_eq!(context(&["--repo=https://example.com/r", "--context=sub"]), Context::Local("sub".into()));
        assert_eq!(context(&["/srv/app"]), Context::Local("/srv/app".into()));

        let resolved = |repo: &[&str]| {
            let words = [repo, &["--build-context=base=base", "--secret=id=token,src=token.txt"]].concat();
            let target = targets(&words, &[]).expect("sound").remove(0);
            let NamedContext::Local(context) = target.named_contexts["base"].clone() else { panic!("it is a path") };
            let SecretOrigin::File(secret) = target.secrets[0].from.clone() else { panic!("it is a path") };
            (context.is_absolute(), secret.is_absolute())
        };
        assert_eq!(resolved(&["--repo=https://example.com/r"]), (false, true));
        assert_eq!(resolved(&[]), (true, true));
    }

    #[test]
    fn several_stages_are_several_targets_of_the_same_build() {
        let words = ["--target=app", "--target=docs", "--target=app"];
        let arguments = ["--build-arg=K=V", "--build-arg=FROM_ENVIRONMENT", "--build-arg=ABSENT"];
        let targets = targets(&[&words[..], &arguments].concat(), &[("FROM_ENVIRONMENT", "value")]).expect("sound");
        assert_eq!(targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), ["app", "docs"]);
        for target in targets {
            let arguments: Vec<_> = target.build_args.into_iter().collect();
            let expected = [("FROM_ENVIRONMENT", "value"), ("K", "V")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(arguments, expected);
        }
    }

    #[test]
    fn a_bake_file_and_flags_that_say_the_same_thing_twice_are_refused() {
        let error = targets(&["--bake=bake.json"], &[("CACHEWARM_LABEL", "a=b")]).expect_err("refused");
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
        let words = ["--repo=https://example.com/r", "--cache-from=r.example/new", "--no-cache"];
        let allowed = [&format!("--bake={}", file.display()), "--allow=network.host", "--allow=fs.read=*"];
        let targets = targets(&[words, allowed].concat(), &[]).expect("sound");
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
        insta::assert_snapshot!(targets(&["--ulimit=nofiles=1"], &[]).expect_err("refused"), @"could not use --ulimit: invalid ulimit type: nofiles");
    }

    #[test]
    fn a_bake_target_needs_a_bake_file() {
        insta::assert_snapshot!(targets(&["--bake-target=app"], &[]).expect_err("refused"), @"could not use --bake-target: there is no bake file");
    }
}
