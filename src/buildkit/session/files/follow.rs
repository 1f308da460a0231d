//! Turns paths to follow into include patterns: the path itself, and whatever its symlinks lead to.
//!
//! The rules are those of fsutil's `followlinks.go`. A link never leads out of the tree: an absolute target is
//! meant from the tree's root, and `..` stops there.

use std::collections::BTreeSet;
use std::io;

use super::go_path;

/// What following needs to know of a tree. Paths are relative, clean, and `.` for the root.
pub(super) trait Links {
    /// The raw target if there is a symlink at this path; none if there is something else or nothing.
    fn target(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// The names in this directory, in byte order; empty if it is none.
    fn names(&self, directory: &[u8]) -> io::Result<Vec<Vec<u8>>>;
}

/// The include patterns of the paths to follow, beside those asked for directly. None stands for everything.
///
/// # Errors
/// When the tree cannot be read.
pub(super) fn include_patterns(
    tree: &impl Links,
    include: Option<Vec<Vec<u8>>>,
    follow: Option<&[Vec<u8>]>,
) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(follow) = follow else { return Ok(include) };
    let Some(followed) = without_nested(resolve(tree, follow)?.into_iter()) else { return Ok(include) };
    Ok(without_nested(include.unwrap_or_default().into_iter().chain(followed)))
}

fn resolve(tree: &impl Links, paths: &[Vec<u8>]) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut resolved = BTreeSet::new();
    let mut waiting: Vec<Vec<u8>> = paths.iter().rev().cloned().collect();
    while let Some(path) = waiting.pop() {
        let path = go_path::join(b".", &path);
        // An absolute path is meant from the tree's root.
        let mut current = b".".to_vec();
        let mut rest = path.as_slice();
        loop {
            let (first, after) = match rest.iter().position(|byte| *byte == b'/') {
                Some(slash) => (&rest[..slash], &rest[slash + 1..]),
                None => (rest, &b""[..]),
            };
            current = go_path::join(&current, first);
            rest = after;
            let targets = link_targets(tree, &current, true)?;
            if !targets.is_empty() || rest.is_empty() {
                if resolved.insert(current) {
                    // The first target's turn comes next.
                    waiting.extend(targets.iter().rev().map(|target| go_path::join(target, rest)));
                }
                break;
            }
        }
    }
    Ok(resolved)
}

/// Where the symlinks that a path names lead, from the tree's root. Its last element may hold wildcards.
fn link_targets(tree: &impl Links, path: &[u8], wildcards: bool) -> io::Result<Vec<Vec<u8>>> {
    // Only a path to follow can begin so, and nothing above the root is ours to read.
    if path == b".." || path.starts_with(b"../") {
        return Ok(Vec::new());
    }
    let (directory, base) = (go_path::parent(path), go_path::base(path));
    if wildcards && has_wildcards(base) {
        let mut found = Vec::new();
        for name in tree.names(directory)? {
            if go_path::matches(base, &name).unwrap_or(false) {
                found.extend(link_targets(tree, &go_path::join(directory, &name), false)?);
            }
        }
        return Ok(found);
    }
    if path == b"." || path == b"/" {
        return Ok(Vec::new());
    }
    let Some(target) = tree.target(path)? else { return Ok(Vec::new()) };
    let target = go_path::clean(&target);
    Ok(vec![if target.starts_with(b"/") { target } else { go_path::join(b"/", &go_path::join(directory, &target)) }])
}

fn has_wildcards(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Drops each path that lies below the one kept last; none when the root is among them, which stands for all.
///
/// fsutil begins with an empty last path, and so drops paths that begin with a slash.
fn without_nested(paths: impl Iterator<Item = Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        if path == b"." {
            return None;
        }
        let last = kept.last().map_or(&b""[..], |last| last.as_slice());
        if !path.strip_prefix(last).is_some_and(|rest| rest.starts_with(b"/")) {
            kept.push(path);
        }
    }
    Some(kept)
}
