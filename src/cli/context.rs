//! What is built from, as docker takes it: a directory, a directory of a clone, or a URL that the builder fetches itself.

use std::path::{Path, PathBuf};

use super::settings::{BuildSettings, Given, SourceSettings};
use crate::failure::{Explain, Kind};
use crate::source::SourceSpec;
use crate::targets::{Context, flags};

/// Where the source comes from, and the context of builds that are given by flags.
///
/// # Errors
/// A usage error when the context cannot be one, or has no meaning beside a repository or a bake file.
pub(super) fn source_from(source: &SourceSettings, build: &BuildSettings) -> anyhow::Result<(SourceSpec, Context)> {
    let given = source.context.as_ref();
    if let Some(context) = given {
        check(context, source, build)?;
    }
    let typed = given.map_or(".", |context| context.value.as_str());
    if let Some(url) = &source.repo {
        let (rev, submodules, token) = (source.rev.clone(), source.submodules, source.git_token.clone());
        let spec = SourceSpec::Repository { url: url.clone(), rev, submodules, token };
        return Ok((spec, Context::Local(PathBuf::from(typed))));
    }
    if let Some(url) = build.bake_call.as_ref().and_then(|call| call.url.as_ref()) {
        return Ok((SourceSpec::Remote(url.clone()), Context::Remote(url.clone())));
    }
    if is_fetched(typed) {
        return Ok((SourceSpec::Remote(typed.to_owned()), Context::Remote(typed.to_owned())));
    }
    let directory = absolute(Path::new(typed))?;
    Ok((SourceSpec::Directory(directory.clone()), Context::Local(directory)))
}

fn check(context: &Given<String>, source: &SourceSettings, build: &BuildSettings) -> anyhow::Result<()> {
    if context.value == "-" {
        let hint = "unpack it into a directory, and name that";
        return Err(context.refused("a context from standard input cannot be warmed", hint));
    }
    match (source.repo.is_some(), build.bake.is_some()) {
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
    use crate::cli::settings::Origin;

    fn decided(repo: Option<&str>, context: &str, bake: Option<&str>) -> Result<(SourceSpec, Context), String> {
        let given = |value: &str| Given { value: value.to_owned(), origin: Origin::Flag("sample") };
        let source = SourceSettings {
            repo: repo.map(str::to_owned),
            context: Some(given(context)),
            ..SourceSettings::default()
        };
        let build = BuildSettings {
            bake: bake.map(|file| Given { value: vec![file.to_owned()], origin: Origin::Flag("sample") }),
            ..BuildSettings::default()
        };
        source_from(&source, &build).map_err(|error| format!("{error:#}"))
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
            assert_eq!(decided(None, url, None), Ok(expected));
        }
    }

    #[test]
    fn a_context_that_means_nothing_there_is_refused_with_the_reason() {
        let (url, repo) = ("https://example.com/r.git", Some("https://example.com/r"));
        let refused = |repo, context, bake| decided(repo, context, bake).expect_err("refused");
        insta::assert_snapshot!(refused(repo, url, None), @"could not use --sample: it is a URL, and --repo is what is built from");
        insta::assert_snapshot!(refused(repo, "sub", Some("bake.json")), @"could not use --sample: the bake file names the contexts");
        insta::assert_snapshot!(refused(None, url, Some("bake.json")), @"could not use --sample: the bake file names the contexts");
        insta::assert_snapshot!(refused(None, "-", None), @"could not use --sample: a context from standard input cannot be warmed");
    }
}
