//! CI's own line, `-- docker buildx build …` or `-- docker buildx bake …`, as settings of ours.
//!
//! **Invariant:** every word of it is honoured, changes no step, or is refused with the reason. Beside it nothing else says
//! what is built; only --cache-from, --no-cache and --allow of ours go with it, as with a bake file.

mod flags;
mod words;

use self::flags::{Effect, On};
use self::words::{Words, refused};
use super::bake::Call;
use super::settings::{BuildSettings, Given, Origin, SourceSettings};
use crate::targets;

/// The settings with what the line says, and what a person should know about it.
///
/// # Errors
/// A usage error that names the word, or the setting that says again what the line says.
pub(super) fn applied(
    source: &SourceSettings,
    build: &BuildSettings,
) -> anyhow::Result<(SourceSettings, BuildSettings, Vec<String>)> {
    let (mut source, mut build) = (source.clone(), build.clone());
    if source.line.is_empty() {
        return Ok((source, build, Vec::new()));
    }
    let words = Words::of(&source.line)?;
    let mut harmless: Vec<&str> = Vec::new();
    for (flag, _) in &words.flags {
        if let Effect::Harmless(why) = flag.effect
            && !harmless.contains(&flag.name)
        {
            tracing::info!("--{} of the line is left out: {why}", flag.name);
            harmless.push(flag.name);
        }
    }
    let context = source.context.as_ref().map(|given| &given.origin);
    let of_build = [&build.secret, &build.ssh].into_iter().flatten().map(|given| &given.origin);
    let of_build = of_build.filter(|_| words.command == On::Build);
    let bake = build.bake.as_ref().map(|given| &given.origin).into_iter();
    let bake = bake.chain(build.bake_target.as_ref().map(|given| &given.origin));
    if let Some(origin) = build.fixed_beside_bake().into_iter().chain(context).chain(bake).chain(of_build).min() {
        let hint = "leave it out, or leave the line out and give the whole build by flags";
        return Err(Given { value: (), origin: origin.clone() }.refused("the line after -- says what is built", hint));
    }
    let mut warnings = Vec::new();
    match words.command {
        On::Bake => bake_of(words, &mut build),
        _ => build_of(words, &mut source, &mut build, &mut warnings)?,
    }
    Ok((source, build, warnings))
}

fn given<T>(name: &'static str, value: T) -> Given<T> {
    Given { value, origin: Origin::Line(name) }
}

fn extend(list: &mut Option<Given<Vec<String>>>, name: &'static str, values: Vec<String>) {
    if !values.is_empty() {
        list.get_or_insert_with(|| given(name, Vec::new())).value.extend(values);
    }
}

fn build_of(
    words: Words,
    source: &mut SourceSettings,
    build: &mut BuildSettings,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
    let [context] = words.operands.as_slice() else {
        let problem = format!("it takes one PATH or URL, and has {}", words.operands.len());
        return Err(refused("build", &problem, "write the line as CI's script has it"));
    };
    source.context = Some(given("PATH|URL", context.clone()));
    // Where docker takes one value, the last one counts.
    let one =
        |name: &'static str| words.values(name).pop().filter(|value| !value.is_empty()).map(|value| given(name, value));
    let many = |name: &'static str| {
        Some(words.values(name)).filter(|values| !values.is_empty()).map(|values| given(name, values))
    };
    build.file = one("file");
    build.target = one("target").map(|Given { value, origin }| Given { value: vec![value], origin });
    build.network = one("network");
    build.shm_size = one("shm-size");
    build.cgroup_parent = one("cgroup-parent");
    build.add_host = many("add-host");
    build.build_arg = many("build-arg");
    build.build_context = many("build-context");
    build.label = many("label");
    build.no_cache_filter = many("no-cache-filter");
    build.platform = many("platform");
    build.secret = many("secret");
    build.ssh = many("ssh");
    build.ulimit = many("ulimit");
    build.no_cache |= words.values("no-cache").last().is_some_and(|value| value == "true");
    extend(&mut build.allow, "allow", words.values("allow"));
    if build.cache_from.is_none() {
        let mut sources = words.values("cache-from");
        sources.retain(|text| {
            let kind = targets::flags::attributes(text).ok().flatten().and_then(|mut fields| fields.remove("type"));
            let other = kind.filter(|kind| kind != "registry");
            if let Some(kind) = &other {
                warnings.push(format!(
                    "the cache of type {kind} is left out, for only caches in registries can be read; --cache-from before -- \
                     replaces it"
                ));
            }
            other.is_none()
        });
        extend(&mut build.cache_from, "cache-from", sources);
    }
    Ok(())
}

fn bake_of(words: Words, build: &mut BuildSettings) {
    build.bake = Some(given("file", words.values("file")));
    let no_cache = words.values("no-cache").pop();
    build.no_cache |= no_cache.as_deref() == Some("true");
    extend(&mut build.allow, "allow", words.values("allow"));
    let mut flags: Vec<String> = Vec::new();
    for name in ["set", "var", "allow", "builder"] {
        flags.extend(words.values(name).into_iter().map(|value| format!("--{name}={value}")));
    }
    // What a file says itself cannot be taken back by us.
    let decides =
        ["set", "var"].iter().any(|name| !words.values(name).is_empty()) || no_cache.as_deref() == Some("false");
    if no_cache.as_deref() == Some("false") {
        flags.push("--no-cache=false".to_owned());
    }
    let url = words.operands.first().filter(|first| targets::flags::is_remote(first)).cloned();
    build.bake_target =
        Some(words.operands.clone()).filter(|names| !names.is_empty()).map(|names| given("TARGET", names));
    build.bake_call = Some(Call { program: words.program, flags, decides, url });
}

#[cfg(test)]
mod tests {
    use super::flags::FLAGS;
    use super::*;

    fn applied_to(line: &str) -> anyhow::Result<(SourceSettings, BuildSettings, Vec<String>)> {
        let line = line.split(' ').map(str::to_owned).collect();
        applied(&SourceSettings { line, ..SourceSettings::default() }, &BuildSettings::default())
    }

    #[test]
    fn every_flag_that_is_honoured_changes_a_setting() {
        for flag in FLAGS.iter().filter(|flag| flag.effect == Effect::Honoured) {
            for (command, on) in [("build", On::Build), ("bake", On::Bake)] {
                if flag.is_of(on) {
                    let value = if flag.name == "no-cache" { "true" } else { "sample=1" };
                    let settings = |line: &str| {
                        let (source, build, _) = applied_to(line).expect("the line is sound");
                        format!("{:?} {build:?}", source.context)
                    };
                    let with = settings(&format!("docker buildx {command} --{}={value} sample", flag.name));
                    let without = settings(&format!("docker buildx {command} sample"));
                    assert_ne!(with, without, "{command} --{}", flag.name);
                }
            }
        }
    }

    #[test]
    fn a_cache_that_nobody_can_read_is_left_out_with_a_word() {
        let line = "docker build --cache-from type=gha,scope=x --cache-from type=registry,ref=r/c --cache-from r/d .";
        let (_, build, warnings) = applied_to(line).expect("sound");
        assert_eq!(build.cache_from.expect("given").value, ["type=registry,ref=r/c", "r/d"]);
        assert!(warnings[0].contains("type gha"), "{warnings:?}");
    }

    #[test]
    fn what_the_line_says_is_not_said_twice() {
        let source =
            SourceSettings { line: vec!["docker".into(), "build".into(), ".".into()], ..SourceSettings::default() };
        let origin = Origin::Variable("CACHEWARM_TARGET".to_owned());
        let build =
            BuildSettings { target: Some(Given { value: vec!["x".into()], origin }), ..BuildSettings::default() };
        let error = applied(&source, &build).expect_err("refused");
        insta::assert_snapshot!(error, @"could not use CACHEWARM_TARGET: the line after -- says what is built");
        insta::assert_snapshot!(applied_to("docker build a b").expect_err("refused"), @"could not use `build` of the line after --: it takes one PATH or URL, and has 2");
    }
}
