//! What is sent of a directory, held against what the Go libraries send.
//!
//! The expected results were written by moby/patternmatcher v0.6.1 and by fsutil at the version of BuildKit v0.32.2.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Mutex;

use proptest::prelude::*;
use serde::Deserialize;

use super::announced::Announced;
use super::filter::Filter;
use super::pattern::Patterns;
use super::*;

#[derive(Deserialize)]
struct PatternCase {
    pattern: String,
    path: String,
    result: String,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Walk {
    nodes: Vec<Node>,
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    follow: Option<Vec<String>>,
    /// Go fails.
    error: bool,
    /// Path, mode (octal), size, link.
    entries: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Node {
    path: String,
    kind: String,
    #[serde(default)]
    target: String,
}

fn on_disk() -> PermissionRule {
    Arc::new(|_, permissions| permissions)
}

fn bytes(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.clone().into_bytes()).collect()
}

/// Everything a request would be sent of a directory.
fn walk(path: &Path, permissions: PermissionRule, request: &Walk) -> anyhow::Result<Vec<wire::Stat>> {
    let directory = Directory { path: path.to_owned(), permissions };
    let lists = [&request.include, &request.exclude, &request.follow];
    let [include, exclude, follow] = lists.map(|list| list.as_deref().map(bytes));
    let include = follow::include_patterns(&directory, include, follow.as_deref())?;
    let filter = Filter::new(include.as_deref(), exclude.as_deref())?;
    let announced = Mutex::new(Announced::default());
    let mut sent: Vec<wire::Stat> = Vec::new();
    walk::walk_directory(&directory, &filter, &announced, &mut |stat| {
        sent.push(stat);
        Ok(())
    })?;
    for (number, stat) in sent.iter().enumerate() {
        assert_eq!(announced.lock().expect("whole").path(number as u32), stat.path, "numbers are places in the list");
    }
    Ok(sent)
}

fn everything(path: &Path) -> Vec<wire::Stat> {
    walk(path, on_disk(), &Walk::default()).expect("it is readable")
}

fn shown(stat: &wire::Stat) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {:o} {} {}", text(&stat.path), stat.mode, stat.size, text(&stat.link))
}

/// Lays out a tree; every file holds its path.
fn lay_out(root: &Path, nodes: &[Node]) {
    for node in nodes {
        let path = root.join(&node.path);
        match node.kind.as_str() {
            "d" => {
                std::fs::create_dir(&path).expect("made");
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
            }
            "f" => {
                std::fs::write(&path, &node.path).expect("written");
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
            }
            "l" => symlink(&node.target, &path).expect("linked"),
            "h" => std::fs::hard_link(root.join(&node.target), &path).expect("linked"),
            other => panic!("unknown kind {other}"),
        }
    }
}

#[test]
fn a_pattern_matches_what_it_matches_in_patternmatcher() {
    for line in include_str!("../../../../tests/fixtures/patternmatcher.jsonl").lines() {
        let case: PatternCase = serde_json::from_str(line).expect("a case");
        let found = match Patterns::new([&case.pattern]) {
            Err(_) => "new-error",
            Ok(patterns) => match patterns.matches(case.path.as_bytes(), &[false]) {
                Err(_) => "match-error",
                Ok((true, _)) => "yes",
                Ok((false, _)) => "no",
            },
        };
        assert_eq!(found, case.result, "{:?} against {:?}", case.pattern, case.path);
    }
}

#[test]
fn a_directory_is_walked_as_fsutil_walks_it() {
    for line in include_str!("../../../../tests/fixtures/fsutil-walks.jsonl").lines() {
        let case: Walk = serde_json::from_str(line).expect("a case");
        let root = tempfile::tempdir().expect("a folder");
        lay_out(root.path(), &case.nodes);
        let found = walk(root.path(), on_disk(), &case).map(|sent| sent.iter().map(shown).collect::<Vec<_>>());
        assert_eq!(found.is_err(), case.error, "{case:?}: {found:?}");
        assert_eq!(found.unwrap_or_default(), case.entries, "{case:?}");
    }
}

#[test]
fn a_file_that_fsutil_lists_and_does_not_open_is_empty_for_everybody() {
    let patterns: Vec<Vec<u8>> = ["*", "!keep", "!src/**/*.c", "**/deep"].map(|text| text.as_bytes().to_vec()).to_vec();
    let filter = Filter::new(None, Some(&patterns)).expect("patterns");
    assert!(!filter.opens(b"src/deep/q.c").expect("judged"));
    assert!(filter.opens(b"src/other/q.c").expect("judged"));
    assert!(filter.opens(b"keep/file").expect("judged"));
}

#[test]
fn an_entry_is_described_as_go_describes_it() {
    let root = tempfile::tempdir().expect("a folder");
    let at = |name: &str| root.path().join(name);
    std::fs::write(at("file"), "12345").expect("written");
    std::fs::set_permissions(at("file"), std::fs::Permissions::from_mode(0o4751)).expect("set");
    std::fs::create_dir(at("sticky")).expect("made");
    std::fs::set_permissions(at("sticky"), std::fs::Permissions::from_mode(0o1777)).expect("set");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
    std::fs::set_permissions(at("socket"), std::fs::Permissions::from_mode(0o755)).expect("set");
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).expect("made");
    symlink("/no/where/", at("link")).expect("linked");
    // A name need not be UTF-8.
    let latin: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xE9");
    std::fs::write(root.path().join(latin), "").expect("written");

    let sent = everything(root.path());
    let described: Vec<_> = sent.iter().map(|stat| (&*stat.path, stat.mode, stat.size, &*stat.link)).collect();
    let none = &b""[..];
    assert_eq!(
        described,
        [
            (&b"file"[..], 1 << 23 | 0o751, 5, none),
            (b"link", 1 << 27 | 0o777, 10, b"/no/where/"),
            (b"pipe", 1 << 25 | 0o600, 0, none),
            (b"socket", 0o755, 0, none),
            (b"sticky", 1 << 31 | 1 << 20 | 0o777, 0, none),
            (b"\xE9", sent[5].mode, 0, none),
        ]
    );
    let file = std::fs::metadata(at("file")).expect("there");
    assert_eq!(sent[0].modified, file.mtime() * 1_000_000_000 + file.mtime_nsec());
    assert!(sent.iter().all(|stat| (stat.uid, stat.gid) == (0, 0)));
}

#[test]
fn extended_attributes_are_sent_but_those_of_the_finder() {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("file");
    std::fs::write(&file, "").expect("written");
    let set = |name: &str, value: &[u8]| rustix::fs::setxattr(&file, name, value, rustix::fs::XattrFlags::empty());
    if set("user.large", &[7; 3000]) == Err(rustix::io::Errno::OPNOTSUPP) {
        // The file system has none, so there are none to send.
        assert!(everything(root.path())[0].attributes.is_empty());
        return;
    }
    set("user.small", b"\0").expect("set");
    let sent = &everything(root.path())[0].attributes;
    assert_eq!(sent["user.large"], [7; 3000]);
    assert_eq!(sent["user.small"], [0]);
}

#[test]
fn the_rule_decides_permissions_and_nothing_else() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("dir")).expect("made");
    std::fs::write(root.path().join("dir/file"), "").expect("written");
    symlink("dir", root.path().join("link")).expect("linked");
    let expected = root.path().join("dir/file");
    let rule: PermissionRule = Arc::new(move |path, _| if path == expected { 0o100644 } else { 0o700 });
    let sent = walk(root.path(), rule, &Walk::default()).expect("it is readable");
    let modes: Vec<u32> = sent.iter().map(|stat| stat.mode).collect();
    assert_eq!(modes, [1 << 31 | 0o700, 0o644, 1 << 27 | 0o777]);
}

#[test]
fn no_symlink_leads_out_of_the_directory() {
    let root = tempfile::tempdir().expect("a folder");
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("secret"), "s").expect("written");
    symlink(outside.path(), root.path().join("away")).expect("linked");
    let directory = Directory { path: root.path().to_owned(), permissions: on_disk() };
    assert!(directory.open_file(b"away/secret").is_err());
    assert!(directory.open_file(b"away").is_err());
    let follow = Walk { follow: Some(vec!["away/secret".to_owned(), "../secret".to_owned()]), ..Walk::default() };
    let sent = walk(root.path(), on_disk(), &follow).expect("it is readable");
    assert_eq!(sent.iter().map(|stat| &*stat.path).collect::<Vec<_>>(), [b"away"]);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    let error = walk(&root.path().join("gone"), on_disk(), &Walk::default()).expect_err("it is not there");
    assert!(format!("{error:#}").contains("/gone: No such file"), "{error:#}");
}

proptest! {
    #[test]
    fn any_patterns_are_read_and_matched_without_panic(
        patterns in proptest::collection::vec(
            proptest::collection::vec(proptest::sample::select(b"*?[]^-\\/!{}|,12(.:aQEpx\xc3\xbc \n".to_vec()), 0..10), 0..4),
        path in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        if let Ok(filter) = Filter::new(Some(&patterns), Some(&patterns)) {
            let _ = filter.judge(&path, true, &filter::Above::default());
        }
    }

    #[test]
    fn siblings_come_in_the_order_of_their_names_and_children_behind_their_directory(
        names in proptest::collection::btree_set("[a-b.0-1]{1,3}/[a-b.0-1]{1,3}", 1..20),
    ) {
        let root = tempfile::tempdir().expect("a folder");
        for name in names.iter().filter(|name| !name.split('/').any(|part| part.trim_matches('.').is_empty())) {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let sent = everything(root.path());
        // The receiver's order: a slash comes before every other byte.
        let keys: Vec<Vec<u16>> = sent
            .iter()
            .map(|stat| stat.path.iter().map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 }).collect())
            .collect();
        prop_assert!(keys.is_sorted());
    }
}
