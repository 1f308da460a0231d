//! What was built from.

use serde::Serialize;

use crate::source::Checkout;

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
    /// Of what was checked out.
    pub(crate) fn of(checkout: &Checkout) -> Source {
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

#[cfg(test)]
mod tests {
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
}
