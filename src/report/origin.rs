//! What was built from, for reports: as the source knows it, or as BuildKit says that it fetched it.

use std::collections::BTreeSet;

use super::Source;
use crate::buildkit::Accounts;
use crate::plan::Plan;

/// How BuildKit calls the fetch of a git URL that is the build's context (`frontend/dockerui/context.go`).
const FETCH: &str = "[internal] load git source ";
/// What git writes behind the commit that a tag is about.
const PEELED: &str = "^{}";

/// What was built from.
pub(crate) fn source(plan: &Plan, accounts: &Accounts) -> Source {
    let checkout = &plan.checkout;
    let fetched = || {
        let fetch = accounts.vertices.values().filter(|account| checkout.is_fetched && account.name.starts_with(FETCH));
        commit_in(fetch.flat_map(|account| &account.log).map(String::as_str))
    };
    let known = Source::of(checkout);
    Source { commit: known.commit.or_else(fetched), ..known }
}

/// The commit among the lines of `git ls-remote`; none where they name several.
fn commit_in<'l>(lines: impl Iterator<Item = &'l str>) -> Option<String> {
    let is_id = |word: &str| matches!(word.len(), 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let named: Vec<(String, bool)> = words
        .filter_map(|words| match words.as_slice() {
            [id, name] if is_id(id) => Some(((*id).to_owned(), name.ends_with(PEELED))),
            _ => None,
        })
        .collect();
    let has_tag = named.iter().any(|(_, is_peeled)| *is_peeled);
    let commits: BTreeSet<String> =
        named.into_iter().filter(|(_, is_peeled)| *is_peeled == has_tag).map(|(id, _)| id).collect();
    commits.first().filter(|_| commits.len() == 1).cloned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_commit_is_taken_from_gits_lines_only_where_they_name_one() {
        let (one, other) = ("1".repeat(40), "2".repeat(40));
        let commit = |lines: &[String]| commit_in(lines.iter().map(String::as_str));
        let line = |id: &str, name: &str| format!("{id}\t{name}");
        assert_eq!(commit(&[line(&one, "refs/heads/main"), line(&one, "HEAD")]), Some(one.clone()));
        let tag = [line(&other, "refs/tags/v1"), line(&one, "refs/tags/v1^{}")];
        assert_eq!(commit(&tag), Some(one.clone()));
        assert_eq!(commit(&[line(&one, "refs/heads/a"), line(&other, "refs/heads/b")]), None);
        assert_eq!(commit(&["ref: refs/heads/main\tHEAD".to_owned(), "fatal: no".to_owned()]), None);
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(lines in proptest::collection::vec(".{0,60}", 0..5)) {
            let _ = commit_in(lines.iter().map(String::as_str));
        }
    }
}
