//! The shape of the source: what may use what, where each foreign client lives, how files begin and end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that speak for somebody else, and the one place that speaks to them.
const HOMES: [(&str, &str); 9] = [
    ("aws_config", "auth/ecr"),
    ("aws_credential_types", "auth/ecr"),
    ("aws_sdk_ecr", "auth/ecr"),
    ("bollard", "buildkit/connect/docker"),
    ("bollard_buildkit_proto", "buildkit/"),
    ("clap", "cli/"),
    ("git2", "source/git"),
    ("indicatif", "cli/progress"),
    ("reqwest", "registry/"),
];

/// The longest a file may be.
const MOST_LINES: usize = 400;

#[test]
fn imports_point_up_in_lib_rs() {
    let groups = groups(&read(&source().join("lib.rs")));
    let mut wrong = Vec::new();
    for (path, text) in files(&source()) {
        let module = module_of(&path);
        let Some(own) = groups.get(&module) else { continue };
        for used in crate_paths(&text) {
            if used != module && groups.get(&used).is_some_and(|group| group >= own) {
                wrong.push(format!("{path}: `{module}` uses `{used}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point up in src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_stands_in_lib_rs() {
    let groups = groups(&read(&source().join("lib.rs")));
    let modules: Vec<_> = files(&source()).into_iter().map(|(path, _)| module_of(&path)).collect();
    let strays: Vec<_> = modules
        .iter()
        .filter(|name| !["lib", "main"].contains(&name.as_str()) && !groups.contains_key(*name))
        .collect();
    assert!(strays.is_empty(), "not in src/lib.rs: {strays:?}");
}

#[test]
fn every_foreign_client_has_one_home() {
    let mut wrong = Vec::new();
    for (path, text) in files(&source()) {
        for (name, home) in HOMES {
            if !path.starts_with(home) && names_of(&text, &format!("{name}::")).next().is_some() {
                wrong.push(format!("{path} uses {name}, whose home is src/{home}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_by_saying_what_it_is_for_and_is_no_longer_than_a_sitting() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut wrong = Vec::new();
    for (path, text) in [files(&source()), files(&tests)].concat() {
        if !text.starts_with("//! ") {
            wrong.push(format!("{path} does not open with `//!`"));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{path} has {lines} lines, more than {MOST_LINES}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_is_read_as_it_is_written() {
    let groups = groups("mod a;\nmod b;\n\n// Why.\nmod c;\nmod d;\n// More.\nmod e;\n");
    let expected = [("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 2)].map(|(name, group)| (name.to_owned(), group));
    assert_eq!(groups, expected.into());
    let used = crate_paths(
        "use crate::a::{b, c};\nuse crate::{\n    d::{e, f},\n    g,\n};\n// crate::not\nlet _ = crate::h();",
    );
    assert_eq!(used, ["a", "d", "g", "h"]);
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Every Rust file below a folder: its path there, and its text.
pub(crate) fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), read(&path)));
            }
        }
    }
    found
}

/// `auth/ecr.rs` and `auth.rs` are of module `auth`.
fn module_of(path: &str) -> String {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
}

/// The group of each module: `mod` lines that follow each other make one.
fn groups(lib: &str) -> BTreeMap<String, usize> {
    let mut groups = BTreeMap::new();
    let (mut group, mut open) = (0, false);
    for line in lib.lines() {
        match line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            Some(name) => {
                groups.insert(name.to_owned(), group);
                open = true;
            }
            None => {
                group += usize::from(open);
                open = false;
            }
        }
    }
    groups
}

/// The modules that code names as `crate::NAME` or in `crate::{NAME, …}`.
fn crate_paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in names_of(&code(text), "crate::") {
        match rest.strip_prefix('{') {
            Some(list) => found.extend(outermost(list)),
            None => found.push(word(&rest)),
        }
    }
    found
}

/// The first word of each item of a `{…}` list, whose opening brace is gone.
fn outermost(list: &str) -> Vec<String> {
    let (mut depth, mut found, mut item) = (0, Vec::new(), String::new());
    for character in list.chars() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(word(std::mem::take(&mut item).trim())),
            _ if depth == 0 => item.push(character),
            _ => {}
        }
    }
    found.push(word(item.trim()));
    found.retain(|name| !name.is_empty());
    found
}

/// What follows each `start` that is no longer name's end.
fn names_of(text: &str, start: &str) -> impl Iterator<Item = String> {
    let text = code(text);
    let starts: Vec<usize> = text.match_indices(start).map(|(at, _)| at).collect();
    let start = start.len();
    starts.into_iter().filter_map(move |at| {
        let before = text[..at].chars().next_back();
        let whole = !before.is_some_and(|character| character.is_alphanumeric() || character == '_');
        whole.then(|| text[at + start..].to_owned())
    })
}

/// The text without its comment lines.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The identifier a text begins with.
fn word(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}
