//! Which files of a directory of ours differ, of those that a step reads.

use std::collections::BTreeMap;

use regex::{Regex, RegexSet};

use crate::buildkit::of_copies;
use crate::manifest::Files;

/// Symbolic links that are followed, at most.
const MOST_LINKS: usize = 200;

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
pub(super) struct Reads {
    paths: RegexSet,
    only: Option<RegexSet>,
    not: Option<RegexSet>,
}

/// What a step with these fields in its key reads of a directory at the `paths`.
pub(super) fn read_by_step(key: &BTreeMap<String, String>, paths: &[String], files: &Files<'_>) -> Reads {
    read_by(paths, of_copies(key, "include").as_deref(), of_copies(key, "exclude").as_deref(), files)
}

/// What a step reads of a directory: the `paths`, and what their symbolic links lead to; of those what the `include`
/// patterns of a COPY let in (`--parents`), and not what its `exclude` patterns name.
pub(super) fn read_by(paths: &[String], include: Option<&str>, exclude: Option<&str>, files: &Files<'_>) -> Reads {
    let words = |list: Option<&str>| {
        let patterns: Vec<String> = list?.split_whitespace().map(str::to_owned).collect();
        Some(set(&patterns))
    };
    Reads { paths: set(&followed(paths, files)), only: words(include), not: words(exclude) }
}

/// The paths, with those that their symbolic links lead to. None leads out of the directory.
fn followed(paths: &[String], files: &Files<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut pending: Vec<String> = paths.to_vec();
    while let Some(path) = pending.pop() {
        if all.len() > MOST_LINKS || all.contains(&path) {
            continue;
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        for depth in 1..=parts.len() {
            let link = files.get(&parts[..depth].join("/")).filter(|entry| entry.kind == "l");
            let Some(target) = link.and_then(|link| serde_json::from_str::<String>(link.content).ok()) else {
                continue;
            };
            let from = if target.starts_with('/') { &[][..] } else { &parts[..depth - 1] };
            let mut led: Vec<&str> = from.to_vec();
            for part in target.split('/').chain(parts[depth..].iter().copied()) {
                match part {
                    "" | "." => {}
                    ".." => drop(led.pop()),
                    part => led.push(part),
                }
            }
            pending.push(format!("/{}", led.join("/")));
        }
        all.push(path);
    }
    all
}

impl Reads {
    /// Whether an entry counts.
    pub(super) fn covers(&self, path: &str) -> bool {
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
            '[' => {
                source.push('[');
                source.extend(characters.next_if_eq(&'^'));
            }
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

/// A directory as a step sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'v, 'm> {
    /// Its entries.
    pub(super) files: &'v Files<'m>,
    /// Whether all of them are written down.
    pub(super) is_whole: bool,
    /// What the step reads.
    pub(super) reads: &'v Reads,
}

/// What differs between two views of a directory, of what the step reads in one or the other; by path.
pub(super) fn changes(old: View<'_, '_>, new: View<'_, '_>) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    for (path, entry) in new.files.iter().filter(|(path, _)| new.reads.covers(path)) {
        let Some(earlier) = old.files.get(path) else {
            // What was not written down may have been there.
            if old.is_whole {
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
    if new.is_whole {
        let gone = old.files.iter().filter(|(path, _)| old.reads.covers(path) && new.files.get(path).is_none());
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
    use crate::manifest::Context;

    fn context(entries: &[&str]) -> Context {
        Context { entries: entries.iter().map(|entry| (*entry).to_owned()).collect(), ..Context::default() }
    }

    fn reads(path: &str) -> Reads {
        read_by(&[path.to_owned()], None, None, &Files::default())
    }

    fn changes(old: &Context, new: &Context, reads: &Reads) -> Vec<(String, Change)> {
        let (before, now) = (Files::of(old), Files::of(new));
        let old = View { files: &before, is_whole: old.left_out == 0, reads };
        super::changes(old, View { files: &now, is_whole: new.left_out == 0, reads })
    }

    #[test]
    fn what_became_of_each_file_is_told() {
        let old = context(&["f 0644 1 aa a", "f 0644 1 bb b", "l 0777 1 \"x\" c", "f 0644 1 dd d", "f 0644 1 ee e"]);
        let new = context(&["f 0644 1 ab a", "f 0755 1 bb b", "l 0777 1 \"y\" c", "d 0755 0 - d", "f 0644 1 ff f"]);
        let all = reads("/");
        let told = changes(&old, &new, &all);
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
        assert_eq!(changes(&old, &new, &reads("/b")).len(), 1);
        assert!(changes(&old, &old, &all).is_empty());
    }

    #[test]
    fn what_was_not_written_down_is_not_called_new_or_gone() {
        let (few, many) = (context(&["f 0644 1 aa a"]), context(&["f 0644 1 aa a", "f 0644 1 bb b"]));
        let cut = Context { left_out: 1, ..few.clone() };
        let all = reads("/");
        assert!(changes(&cut, &many, &all).is_empty());
        assert!(changes(&many, &cut, &all).is_empty());
        assert_eq!(changes(&many, &few, &all), [("b".to_owned(), Change::Removed)]);
    }

    #[test]
    fn a_step_reads_what_it_names_and_what_is_below() {
        for (pattern, covered, not) in [
            ("/", "a/b", ""),
            ("/src", "src/a/b", "srcs/a"),
            ("/*.txt", "a.txt", "b/a.txt"),
            ("/lib*/x", "lib64/x/y", "lib64/z"),
            ("/[ab]", "a", "c"),
            ("/[^ab]", "c", "a"),
            ("./a.b", "a.b", "axb"),
            ("/a[", "a[", "a"),
        ] {
            assert!(reads(pattern).covers(covered), "{pattern} {covered}");
            assert!(pattern == "/" || !reads(pattern).covers(not), "{pattern} {not}");
        }
        let picky = read_by(&["/".to_owned()], Some("**/*.py docs"), Some("**/test_*"), &Files::default());
        assert!(picky.covers("a/b.py") && picky.covers("docs/x.md"));
        assert!(!picky.covers("a/test_b.py") && !picky.covers("a/b.c"));
    }

    #[test]
    fn links_are_followed_and_lead_nowhere_else() {
        let context = context(&[
            "l 0777 0 \"releases/3\" current",
            "l 0777 0 \"../../up.conf\" releases/3/app.conf",
            "l 0777 0 \"loop\" loop",
        ]);
        let files = Files::of(&context);
        let read = read_by(&["/current/app.conf".to_owned(), "/loop".to_owned()], None, None, &files);
        assert!(["current/app.conf", "releases/3/app.conf", "up.conf", "loop"].iter().all(|path| read.covers(path)));
        assert!(!read.covers("releases/3/other.conf"));
    }

    proptest! {
        #[test]
        fn no_pattern_is_too_odd(pattern in any::<String>(), path in any::<String>()) {
            let _ = read_by(std::slice::from_ref(&pattern), Some(&pattern), None, &Files::default()).covers(&path);
        }
    }
}
