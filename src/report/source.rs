//! What was built from.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::buildkit::{Account, Accounts, fetches_git_context};
use crate::plan::Plan;
use crate::source::Checkout;

/// What git writes behind the commit that a tag is about.
const PEELED: &str = "^{}";

/// What was built from.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Source {
    /// The repository without credentials, or the directory.
    pub(crate) location: String,
    /// The revision asked for.
    pub(crate) rev: Option<String>,
    /// The full commit id, when it is known.
    pub(crate) commit: Option<String>,
    /// How many tracked files differ from the commit, when that is known.
    pub(crate) changed: Option<usize>,
    /// How many files are not in the commit, nor ignored, when that is known; a directory of such files is one.
    pub(crate) untracked: Option<usize>,
    /// Whose modes the files have: `disk`, or the umask of a checkout by git, `umask=022`; absent where the builder fetches them.
    pub(crate) modes: Option<String>,
}

impl Source {
    /// Of what a run built: as the source knows it, or as BuildKit says that it fetched it.
    pub(crate) fn of_run(plan: &Plan, accounts: &Accounts) -> Source {
        let checkout = &plan.checkout;
        let fetched = || {
            let is_fetch = |account: &&Account| checkout.is_fetched && fetches_git_context(&account.name);
            let fetch = accounts.vertices.values().filter(is_fetch);
            commit_in(fetch.flat_map(|account| &account.log).map(String::as_str))
        };
        let known = Source::of(checkout);
        Source { commit: known.commit.or_else(fetched), ..known }
    }

    /// Of what was checked out.
    pub(super) fn of(checkout: &Checkout) -> Source {
        Source {
            location: checkout.location.clone(),
            rev: checkout.rev.clone(),
            commit: checkout.commit.clone(),
            changed: checkout.changes.map(|changes| changes.changed),
            untracked: checkout.changes.map(|changes| changes.untracked),
            modes: (!checkout.is_fetched).then(|| checkout.modes.rule().to_string()),
        }
    }

    /// What of it is not in the commit, after the commit's id; none when nothing is.
    pub(crate) fn changes(&self) -> Option<String> {
        let count =
            |count: Option<usize>, what: &str| count.filter(|count| *count > 0).map(|n| (n, format!("{n} {what}")));
        let counts = [count(self.changed, "changed"), count(self.untracked, "untracked")];
        let (numbers, words): (Vec<usize>, Vec<String>) = counts.into_iter().flatten().unzip();
        let files = if numbers.last() == Some(&1) { "file" } else { "files" };
        (!words.is_empty()).then(|| format!("with {} {files}", words.join(", ")))
    }
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
    fn what_is_not_in_the_commit_is_counted_in_words() {
        let told =
            |changed, untracked| Source { changed, untracked, ..Source::default() }.changes().unwrap_or_default();
        assert_eq!(told(Some(2), Some(1)), "with 2 changed, 1 untracked file");
        assert_eq!(told(Some(1), Some(3)), "with 1 changed, 3 untracked files");
        assert_eq!((told(Some(1), Some(0)), told(Some(0), Some(0))), ("with 1 changed file".to_owned(), String::new()));
        assert_eq!(told(None, None), "");
    }

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
