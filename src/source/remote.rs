//! A URL as source, which the builder fetches: nothing of it is on this disk, and it alone knows which commit it got.

use super::checkout::{Checkout, Origin};
use super::git;
use crate::failure::{Explain, Kind};

/// Takes a URL as it is. What is local beside it, a Dockerfile or another context, lies in the current directory.
///
/// # Errors
/// Explained, when there is no current directory.
pub(super) fn fetched_by_the_builder(url: &str) -> anyhow::Result<Checkout> {
    let here = std::path::absolute(".").explain(
        Kind::Usage,
        "could not find the current directory",
        "run the command in a directory that exists",
    )?;
    let revision = revision(url);
    let mut checkout = Checkout::new(here, Origin::Directory, git::shown(url), revision.clone());
    checkout.is_fetched = true;
    checkout.commit = revision.filter(|revision| is_commit(revision));
    Ok(checkout)
}

/// What the URL says of the revision: before the colon of its fragment, else in its query.
fn revision(url: &str) -> Option<String> {
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let named = fragment.split(':').next().filter(|revision| !revision.is_empty());
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let value = |key: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key);
    let queried = || ["checksum", "commit", "ref", "tag", "branch"].into_iter().find_map(value).map(|(_, value)| value);
    // A query of what is no git URL may hold a password.
    let is_git = url.split('?').next().is_some_and(|url| url.ends_with(".git"));
    named.or_else(|| queried().filter(|_| is_git)).map(str::to_owned)
}

fn is_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_says_its_revision_in_the_fragment_or_the_query() {
        let sha = "0123456789012345678901234567890123456789";
        for (url, expected) in [
            ("https://e.example/r.git#main:sub", Some("main")),
            ("https://e.example/r.git#:sub", None),
            ("https://e.example/r.git?branch=main&subdir=x", Some("main")),
            ("https://e.example/r.tar.gz?ref=hush", None),
            ("git@e.example:r.git#v1", Some("v1")),
            ("github.com/o/r", None),
            (&format!("https://e.example/r.git?ref=main&checksum={sha}"), Some(sha)),
        ] {
            assert_eq!(revision(url).as_deref(), expected, "{url}");
        }
        let checkout =
            fetched_by_the_builder(&format!("https://user:hush@e.example/r.git#{sha}")).expect("it is taken");
        assert_eq!((checkout.location.as_str(), checkout.commit.as_deref()), ("https://e.example/r.git", Some(sha)));
    }

    proptest! {
        #[test]
        fn no_url_is_too_odd(url in ".{0,60}") {
            let _ = revision(&url);
        }
    }
}
