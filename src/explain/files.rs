//! Which files of a directory of ours differ, of those that a step reads.

use regex::{Regex, RegexSet};

use crate::manifest::{Context, Files};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its bytes.
    Content,
    /// Its permission bits: old and new, octal.
    Mode(String, String),
    /// What it is: old and new.
    Kind(&'static str, &'static str),
    /// Where it leads to: old and new.
    Link(String, String),
}

impl Change {
    /// As a person reads it, after the path.
    pub(super) fn words(&self) -> String {
        match self {
            Change::Added => "is new".to_owned(),
            Change::Removed => "is gone".to_owned(),
            Change::Content => "has other content".to_owned(),
            Change::Mode(old, new) => format!("has the mode {new}; it had {old}"),
            Change::Kind(old, new) => format!("is a {new}; it was a {old}"),
            Change::Link(old, new) => format!("links to {new}; it linked to {old}"),
        }
    }
}

/// Which paths of a directory a step reads.
#[derive(Debug)]
pub(crate) struct Reads {
    paths: RegexSet,
    only: Option<RegexSet>,
    not: Option<RegexSet>,
}

/// What a step reads of an input: the `paths`, of those what the `include` patterns of a COPY let in (`--parents`), and
/// not what its `exclude` patterns name.
pub(crate) fn read_by(paths: &[String], include: Option<&str>, exclude: Option<&str>) -> Reads {
    let words = |list: Option<&str>| {
        let patterns: Vec<String> = list?.split_whitespace().map(str::to_owned).collect();
        Some(set(&patterns))
    };
    Reads { paths: set(paths), only: words(include), not: words(exclude) }
}

impl Reads {
    /// Whether an entry counts.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.paths.is_match(path)
            && self.only.as_ref().is_none_or(|only| only.is_match(path))
            && !self.not.as_ref().is_some_and(|not| not.is_match(path))
    }
}

/// Patterns that match the paths they name and everything below them.
fn set(patterns: &[String]) -> RegexSet {
    let sources = patterns.iter().map(|pattern| {
        let source = regex_of(pattern);
        // A class that is none: the pattern stands for itself.
        if Regex::new(&source).is_ok() { source } else { format!("^{}(/|$)", regex::escape(pattern.trim_matches('/'))) }
    });
    RegexSet::new(sources).unwrap_or_else(|_| RegexSet::empty())
}

/// A pattern of Go's `filepath.Match`, with `**` as in .dockerignore.
fn regex_of(pattern: &str) -> String {
    let pattern = pattern.trim_start_matches("./").trim_matches('/');
    if pattern.is_empty() || pattern == "." {
        return String::new();
    }
    let mut source = String::from("^");
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.peek() == Some(&'*') => {
                characters.next();
                match characters.next_if_eq(&'/') {
                    Some(_) => source.push_str("(.*/)?"),
                    None => source.push_str(".*"),
                }
            }
            '*' => source.push_str("[^/]*"),
            '?' => source.push_str("[^/]"),
            '[' => source.push('['),
            ']' => source.push(']'),
            '-' => source.push('-'),
            '\\' => {
                source.push_str(&characters.next().map(|next| regex::escape(&next.to_string())).unwrap_or_default())
            }
            other => source.push_str(&regex::escape(&other.to_string())),
        }
    }
    source.push_str("(/|$)");
    source
}

/// What differs between two views of a directory, of what the step reads in one or the other; by path.
pub(super) fn changes(old: (&Context, &Reads), new: (&Context, &Reads)) -> Vec<(String, Change)> {
    let (before, now) = (Files::of(old.0), Files::of(new.0));
    let is_whole = |context: &Context| context.left_out == 0;
    let mut changes = Vec::new();
    for (path, entry) in now.iter().filter(|(path, _)| new.1.covers(path)) {
        let Some(earlier) = before.get(path) else {
            // What was not written down may have been there.
            if is_whole(old.0) {
                changes.push((path.to_owned(), Change::Added));
            }
            continue;
        };
        let unread = earlier.content == "-" || entry.content == "-";
        let change = if earlier.kind != entry.kind {
            Change::Kind(kind(earlier.kind), kind(entry.kind))
        } else if earlier.kind == "l" && earlier.content != entry.content {
            Change::Link(earlier.content.to_owned(), entry.content.to_owned())
        } else if earlier.size != entry.size || (!unread && earlier.content != entry.content) {
            Change::Content
        } else if earlier.mode != entry.mode && entry.kind != "l" {
            Change::Mode(earlier.mode.to_owned(), entry.mode.to_owned())
        } else {
            continue;
        };
        changes.push((path.to_owned(), change));
    }
    if is_whole(new.0) {
        let gone = before.iter().filter(|(path, _)| old.1.covers(path) && now.get(path).is_none());
        changes.extend(gone.map(|(path, _)| (path.to_owned(), Change::Removed)));
    }
    changes.sort_by(|one, other| one.0.cmp(&other.0));
    changes
}

fn kind(letter: &str) -> &'static str {
    match letter {
        "f" => "file",
        "d" => "directory",
        "l" => "symbolic link",
        _ => "special file",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context(entries: &[&str]) -> Context {
        Context { entries: entries.iter().map(|entry| (*entry).to_owned()).collect(), ..Context::default() }
    }

    fn reads(path: &str) -> Reads {
        read_by(&[path.to_owned()], None, None)
    }

    #[test]
    fn what_became_of_each_file_is_told() {
        let old = context(&["f 0644 1 aa a", "f 0644 1 bb b", "l 0777 1 \"x\" c", "f 0644 1 dd d", "f 0644 1 ee e"]);
        let new = context(&["f 0644 1 ab a", "f 0755 1 bb b", "l 0777 1 \"y\" c", "d 0755 0 - d", "f 0644 1 ff f"]);
        let all = reads("/");
        let told = changes((&old, &all), (&new, &all));
        let told: Vec<String> = told.iter().map(|(path, change)| format!("{path} {}", change.words())).collect();
        assert_eq!(
            told,
            [
                "a has other content",
                "b has the mode 0755; it had 0644",
                "c links to \"y\"; it linked to \"x\"",
                "d is a directory; it was a file",
                "e is gone",
                "f is new"
            ]
        );
        assert_eq!(changes((&old, &reads("/b")), (&new, &reads("/b"))).len(), 1);
        assert!(changes((&old, &all), (&old, &all)).is_empty());
    }

    #[test]
    fn what_was_not_written_down_is_not_called_new_or_gone() {
        let (few, many) = (context(&["f 0644 1 aa a"]), context(&["f 0644 1 aa a", "f 0644 1 bb b"]));
        let cut = Context { left_out: 1, ..few.clone() };
        let all = reads("/");
        assert!(changes((&cut, &all), (&many, &all)).is_empty());
        assert!(changes((&many, &all), (&cut, &all)).is_empty());
        assert_eq!(changes((&many, &all), (&few, &all)), [("b".to_owned(), Change::Removed)]);
    }

    #[test]
    fn a_step_reads_what_it_names_and_what_is_below() {
        for (pattern, covered, not) in [
            ("/", "a/b", ""),
            ("/src", "src/a/b", "srcs/a"),
            ("/*.txt", "a.txt", "b/a.txt"),
            ("/lib*/x", "lib64/x/y", "lib64/z"),
            ("/[ab]", "a", "c"),
            ("./a.b", "a.b", "axb"),
            ("/a[", "a[", "a"),
        ] {
            assert!(reads(pattern).covers(covered), "{pattern} {covered}");
            assert!(pattern == "/" || !reads(pattern).covers(not), "{pattern} {not}");
        }
        let picky = read_by(&["/".to_owned()], Some("**/*.py docs"), Some("**/test_*"));
        assert!(picky.covers("a/b.py") && picky.covers("docs/x.md"));
        assert!(!picky.covers("a/test_b.py") && !picky.covers("a/b.c"));
    }

    proptest! {
        #[test]
        fn no_pattern_is_too_odd(pattern in any::<String>(), path in any::<String>()) {
            let _ = read_by(std::slice::from_ref(&pattern), Some(&pattern), None).covers(&path);
        }
    }
}
