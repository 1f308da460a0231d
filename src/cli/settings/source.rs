//! Where the source comes from: what was said of the repository, the directory or the URL.

use std::path::PathBuf;

use super::sources::Sources;
use super::{Environment, Given, Origin};
use crate::auth::Secret;
use crate::cli::args::SourceArgs;
use crate::source::ModeRule;

const NO_REPO: &str = "there is no repository to look in";
const WITH_REPO: &str = "add --repo URL; a directory is used as it is, and a context's URL names its revision: URL#REF";

/// Where the source comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceSettings {
    pub(crate) repo: Option<String>,
    pub(crate) rev: Option<String>,
    pub(crate) submodules: bool,
    /// `--context`, or the argument in its place.
    pub(crate) context: Option<Given<String>>,
    /// A line that calls docker to build.
    pub(crate) line: Vec<String>,
    /// `--modes`; none when nobody said.
    pub(crate) modes: Option<ModeRule>,
    /// `CACHEWARM_GIT_TOKEN`, or `GIT_AUTH_TOKEN` as BuildKit names it.
    pub(crate) git_token: Option<Secret>,
    /// `SSH_AUTH_SOCK`.
    pub(crate) ssh_auth_sock: Option<PathBuf>,
}

/// Where the source comes from.
///
/// # Errors
/// A usage error that names the place of the value it is about.
pub(super) fn source_from(
    from: &Sources<'_>,
    typed: SourceArgs,
    environment: &Environment,
) -> anyhow::Result<SourceSettings> {
    let repo = from.one("repo", typed.repo)?;
    let rev = from.one("rev", typed.rev)?;
    let submodules = from.switch("submodules", typed.submodules)?;
    if repo.is_none() {
        let submodules = submodules.as_ref().filter(|given| given.value).map(|given| given.refused(NO_REPO, WITH_REPO));
        if let Some(error) = rev.as_ref().map(|given| given.refused(NO_REPO, WITH_REPO)).or(submodules) {
            return Err(error);
        }
    }
    let argument = typed.argument.map(|value| Given { value, origin: Origin::Argument });
    if let (Some(argument), Some(repo)) = (&argument, &repo) {
        let hint = "leave one of them out; a directory of the checkout is --context DIR";
        return Err(argument.refused(format!("{} says what is built from", repo.origin), hint));
    }
    Ok(SourceSettings {
        repo: repo.map(|given| given.value),
        rev: rev.map(|given| given.value),
        submodules: submodules.is_some_and(|given| given.value),
        context: match argument {
            Some(argument) => Some(argument),
            None => from.one("context", typed.context)?,
        },
        line: typed.line,
        modes: match from.one("modes", typed.modes)? {
            Some(given) => Some(given.read("git, disk or umask=000, say", str::parse)?.value),
            None => None,
        },
        git_token: match environment.filled("CACHEWARM_GIT_TOKEN")? {
            Some(token) => Some(Secret::new(token)),
            None => environment.filled("GIT_AUTH_TOKEN")?.map(Secret::new),
        },
        ssh_auth_sock: environment.directory("SSH_AUTH_SOCK"),
    })
}
