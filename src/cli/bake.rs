//! Bake files: those that `docker buildx bake --print` wrote are read here; HCL, compose files, several files and what still
//! has variables or templates in it are resolved by the caller's own buildx first.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;

use super::line::Line;
use super::settings::{Given, Origin, Sources};
use super::targets::root_in;
use crate::child;
use crate::failure::{Explain, Failure, Kind};
use crate::foreign;
use crate::targets::{Context, SecretOrigin, SecretSource, Target, bake_targets, flags, left_to_buildx};

/// Bytes of the largest bake file that is read. `--bake` may name a pipe of the shell.
const LARGEST_BAKE: u64 = 64 * 1024 * 1024;
const ELSEWHERE: &str = "where buildx is, write `docker buildx bake --print > bake.json`, and pass --bake bake.json";
/// The variables with which buildx fetches a bake file of a private repository, and the secrets that BuildKit asks for.
const AUTH: [(&str, &str); 2] =
    [("BUILDX_BAKE_GIT_AUTH_TOKEN", "GIT_AUTH_TOKEN"), ("BUILDX_BAKE_GIT_AUTH_HEADER", "GIT_AUTH_HEADER")];

/// A line that calls `docker buildx bake`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// What stands before `bake`.
    pub(crate) program: Vec<String>,
    /// The flags that have a say in what is built.
    pub(crate) flags: Vec<String>,
    /// Whether one of them changes what a file says.
    pub(crate) decides: bool,
    /// The repository that the files lie in.
    pub(crate) url: Option<String>,
}

/// What a bake file says is built, in a form that [`bake_targets`] reads.
enum Printed {
    /// As it was written.
    File(Vec<u8>),
    /// By buildx, for the targets that were asked for.
    ByBuildx(Vec<u8>),
}

/// The builds of bake files, and what a person should know about them.
///
/// # Errors
/// A usage error when they cannot be read or resolved, or do not have what is named.
pub(super) fn baked(from: &Sources<'_>, files: &Given<Vec<String>>) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    let call = from.line().and_then(Line::call);
    let names = from.many("bake-target")?.map_or(Vec::new(), |names| names.value);
    let is_variable = |name: &str| from.environment.bytes(name).is_some();
    let mut folders = vec![Path::new(".")];
    // What a checkout names is no reason to start a program.
    let may_start = !matches!(files.origin, Origin::Entry { .. }) || from.one("config")?.is_some();
    let (mut targets, warnings) = match printed(files, call.as_ref(), &names, may_start)? {
        Printed::File(json) => {
            // The file may have been printed to another folder than the one that buildx ran in.
            let folder = files.value.first().and_then(|file| Path::new(file).parent());
            folders.splice(..0, folder.filter(|folder| !folder.as_os_str().is_empty()));
            bake_targets(&json, &names, &is_variable)?
        }
        Printed::ByBuildx(json) => bake_targets(&json, &[], &is_variable)?,
    };
    targets.iter_mut().try_for_each(|target| root_in(&folders, target))?;
    if let Some(url) = call.as_ref().and_then(|call| call.url.as_deref()) {
        targets.iter_mut().for_each(|target| authorize(target, url, &is_variable));
    }
    Ok((targets, warnings))
}

fn printed(
    files: &Given<Vec<String>>,
    call: Option<&Call>,
    names: &[String],
    may_start: bool,
) -> anyhow::Result<Printed> {
    let mut left = None;
    let is_changed = call.is_some_and(|call| call.decides || call.url.is_some());
    if let ([file], false) = (files.value.as_slice(), is_changed) {
        let read = File::open(file).map_err(Into::into).and_then(|file| foreign::read(file, LARGEST_BAKE));
        let text = read.and_then(foreign::without_mark).explain(
            Kind::Usage,
            format!("could not read the bake file {file} ({})", files.origin),
            "write it with `docker buildx bake --print > FILE.json`",
        )?;
        left = left_to_buildx(&text);
        if let (Some(left), false) = (&left, may_start) {
            let what =
                format!("could not use the bake file {file} ({}): {left}, which only buildx resolves", files.origin);
            let hint = "write it with `docker buildx bake --print`, or give it by --bake";
            return Err(Failure::new(Kind::Usage, what, hint));
        }
        // Where nobody may resolve it, what is no JSON is read to say so.
        if left.is_none() && (is_json(&text) || !may_start) {
            return Ok(Printed::File(text));
        }
    }
    by_buildx(files, call, names, left).map(Printed::ByBuildx)
}

/// Whether it is JSON, if anything.
fn is_json(text: &[u8]) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Has buildx print what is built.
fn by_buildx(
    files: &Given<Vec<String>>,
    call: Option<&Call>,
    names: &[String],
    left: Option<String>,
) -> anyhow::Result<Vec<u8>> {
    let shown =
        if files.value.is_empty() { "the files that buildx looks for".to_owned() } else { files.value.join(", ") };
    let what = format!("could not resolve the bake definition in {shown} ({})", files.origin);
    let why = left.map_or_else(String::new, |left| format!("{left}, which only buildx resolves, and "));
    let program = program(call).with_context(|| format!("{why}neither docker buildx nor buildx is installed here"));
    let program = program.explain(Kind::Usage, what.as_str(), ELSEWHERE)?;
    let mut buildx = of(&program);
    buildx.args(["bake", "--print"]).args(files.value.iter().map(|file| format!("--file={file}")));
    buildx.args(call.map_or(&[][..], |call| &call.flags)).args(names);
    let hint = "correct the bake files or the line; `docker buildx bake --print` tells the same";
    let done = buildx.stdin(Stdio::null()).output().explain(Kind::Usage, what.as_str(), hint)?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let shown = program.join(" ");
        let lower = said.to_lowercase();
        let is_without_builder = ["docker daemon", "docker api"].iter().any(|words| lower.contains(words));
        let needs_builder = call.is_some_and(|call| call.url.is_some()) && is_without_builder;
        let (kind, hint) = match needs_builder {
            true => (
                Kind::Environment,
                "buildx fetches a definition from a URL with a builder of its own: start Docker, or \
                `docker buildx create --driver remote unix:///run/buildkit/buildkitd.sock --use`",
            ),
            false => (Kind::Usage, hint),
        };
        return Err(Failure::new(kind, format!("{what}; {shown} says:\n{}", said.trim()), hint));
    }
    Ok(done.stdout)
}

/// The buildx that the line calls, else one that is here: each word of how it is called.
fn program(call: Option<&Call>) -> Option<Vec<String>> {
    let usual = [vec!["docker".to_owned(), "buildx".to_owned()], vec!["buildx".to_owned()]];
    let named = call.map(|call| call.program.clone());
    named
        .into_iter()
        .chain(usual)
        .find(|words| of(words).arg("version").stdin(Stdio::null()).output().is_ok_and(|done| done.status.success()))
}

fn of(words: &[String]) -> std::process::Command {
    let mut command = child::command(&words[0]);
    command.args(&words[1..]);
    command
}

/// Gives a target the secrets with which its context is fetched, where that comes from the host of the bake file itself
/// (bake/gitauth.go of buildx).
fn authorize(target: &mut Target, url: &str, is_variable: &dyn Fn(&str) -> bool) {
    let Context::Remote(context) = &target.context else { return };
    let (Some(host), Some(other)) = (flags::host_of(url), flags::host_of(context)) else { return };
    if !host.eq_ignore_ascii_case(other) {
        return;
    }
    for (variable, secret) in AUTH {
        let id = format!("{secret}.{host}");
        if is_variable(variable) && !target.secrets.iter().any(|known| known.id == id) {
            target.secrets.push(SecretSource { id, from: SecretOrigin::Env(variable.to_owned()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_the_host_of_the_bake_file_and_to_no_other() {
        let secrets = |context: &str| {
            let mut target = Target::new("app", Context::Remote(context.to_owned()));
            authorize(&mut target, "https://Example.com/r.git#main", &|name| name == AUTH[0].0);
            target.secrets.into_iter().map(|secret| secret.id).collect::<Vec<_>>()
        };
        assert_eq!(secrets("https://user@example.com/r.git#main"), ["GIT_AUTH_TOKEN.Example.com"]);
        assert!(secrets("https://elsewhere.example/r.git").is_empty());
        assert!(secrets("https://elsewhere.example/@example.com/r.git").is_empty());
    }
}
