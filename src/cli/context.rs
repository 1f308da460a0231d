//! What is built from, as docker takes it: a directory, a directory of a clone, or a URL that the builder fetches itself.

use std::path::{Path, PathBuf};

use super::line::Line;
use super::settings::{Environment, Given, Origin, Sources};
use crate::auth::Secret;
use crate::failure::{Explain, Kind};
use crate::source::SourceSpec;
use crate::targets::{Context, flags};

const NO_REPO: &str = "there is no repository to look in";
const WITH_REPO: &str = "add --repo URL; a directory is used as it is, and a context's URL names its revision: URL#REF";

/// Where the source comes from, and the context of builds that are given by flags.
///
/// # Errors
/// A usage error when the context cannot be one, or has no meaning beside a repository or a bake file.
pub(super) fn source_from(from: &Sources<'_>) -> anyhow::Result<(SourceSpec, Context)> {
    let (repo, rev, submodules) = (from.one("repo")?, from.one("rev")?, from.switch("submodules")?);
    let given = from.one("context")?;
    match (&repo, &rev, submodules.as_ref().filter(|given| given.value), &given) {
        (None, Some(rev), ..) => return Err(rev.refused(NO_REPO, WITH_REPO)),
        (None, None, Some(submodules), _) => return Err(submodules.refused(NO_REPO, WITH_REPO)),
        (Some(repo), _, _, Some(argument)) if argument.origin == Origin::Argument => {
            let hint = "leave one of them out; a directory of the checkout is --context DIR";
            return Err(argument.refused(format!("{} says what is built from", repo.origin), hint));
        }
        _ => {}
    }
    if let Some(context) = &given {
        check(context, repo.is_some(), from.many("bake")?.is_some())?;
    }
    let typed = given.as_ref().map_or(".", |context| context.value.as_str());
    if let Some(Given { value: url, .. }) = repo {
        let (rev, submodules) = (rev.map(|given| given.value), submodules.is_some_and(|given| given.value));
        let spec = SourceSpec::Repository { url, rev, submodules, token: token(from.environment)? };
        return Ok((spec, Context::Local(PathBuf::from(typed))));
    }
    if let Some(url) = from.line().and_then(Line::call).and_then(|call| call.url) {
        return Ok((SourceSpec::Remote(url.clone()), Context::Remote(url)));
    }
    if is_fetched(typed) {
        return Ok((SourceSpec::Remote(typed.to_owned()), Context::Remote(typed.to_owned())));
    }
    let directory = absolute(Path::new(typed))?;
    Ok((SourceSpec::Directory(directory.clone()), Context::Local(directory)))
}

/// The token for git: ours, or the one that BuildKit calls so.
fn token(environment: &Environment) -> anyhow::Result<Option<Secret>> {
    let token = match environment.filled("CACHEWARM_GIT_TOKEN")? {
        None => environment.filled("GIT_AUTH_TOKEN")?,
        token => token,
    };
    Ok(token.map(Secret::new))
}

fn check(context: &Given<String>, is_cloned: bool, is_baked: bool) -> anyhow::Result<()> {
    if context.value == "-" {
        let hint = "unpack it into a directory, and name that";
        return Err(context.refused("a context from standard input cannot be warmed", hint));
    }
    match (is_cloned, is_baked) {
        (true, _) if flags::is_remote(&context.value) => {
            let hint = "leave --repo out to have the builder fetch the URL, as docker does; or name a directory of the checkout";
            Err(context.refused("it is a URL, and --repo is what is built from", hint))
        }
        (true, true) => {
            let hint = "leave it out; the paths of the bake file lead from the root of the repository";
            Err(context.refused("the bake file names the contexts", hint))
        }
        (false, true) if is_fetched(&context.value) => {
            let hint = "leave it out; a context of the bake file may be a URL";
            Err(context.refused("the bake file names the contexts", hint))
        }
        _ => Ok(()),
    }
}

/// Whether the builder fetches it. A directory of that name wins, as in buildx.
fn is_fetched(context: &str) -> bool {
    flags::is_remote(context) && !Path::new(context).is_dir()
}

pub(super) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).explain(
        Kind::Usage,
        format!("could not find the path {}", path.display()),
        "run the command in a directory that exists",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(words: &[&str]) -> Result<(SourceSpec, Context), String> {
        let environment = Environment::holding(&[]);
        let from = Sources::typed("warm", words, &environment).expect("the line is sound");
        source_from(&from).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_spelling_of_a_url_is_left_to_the_builder() {
        let spellings = [
            "https://example.com/r.git#main:sub",
            "http://example.com/r.git?ref=main&subdir=sub",
            "git://example.com/r#v1",
            "git@example.com:team/r.git",
            "ssh://git@example.com/r.git#main",
            "github.com/team/r",
            "https://example.com/context.tar.gz",
        ];
        for url in spellings {
            let expected = (SourceSpec::Remote(url.to_owned()), Context::Remote(url.to_owned()));
            assert_eq!(decided(&["--context", url]), Ok(expected));
        }
    }

    #[test]
    fn a_context_that_means_nothing_there_is_refused_with_the_reason() {
        let (url, repo) = ("--context=https://example.com/r.git", "--repo=https://example.com/r");
        let refused = |words: &[&str]| decided(words).expect_err("refused");
        insta::assert_snapshot!(refused(&[repo, url]), @"could not use --context: it is a URL, and --repo is what is built from");
        insta::assert_snapshot!(refused(&[repo, "--context=sub", "--bake=bake.json"]), @"could not use --context: the bake file names the contexts");
        insta::assert_snapshot!(refused(&[url, "--bake=bake.json"]), @"could not use --context: the bake file names the contexts");
        insta::assert_snapshot!(refused(&["--context=-"]), @"could not use --context: a context from standard input cannot be warmed");
    }

    #[test]
    fn a_token_for_git_comes_from_the_environment_alone_and_does_not_print() {
        let token = |variables: &[_]| {
            let environment = Environment::holding(variables);
            let from = Sources::typed("warm", &["--repo=https://example.com/r"], &environment).expect("sound");
            let spec = source_from(&from).expect("sound").0;
            assert!(!format!("{spec:?}").contains("hush"));
            let SourceSpec::Repository { token, .. } = spec else { panic!("it is no repository") };
            token
        };
        let (ours, theirs) = (("CACHEWARM_GIT_TOKEN", "hush"), ("GIT_AUTH_TOKEN", "theirs"));
        assert_eq!(token(&[ours]), Some(Secret::new("hush")));
        assert_eq!(token(&[theirs]), Some(Secret::new("theirs")));
        assert_eq!(token(&[theirs, ours]), Some(Secret::new("hush")));
    }
}
