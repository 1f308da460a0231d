//! Paths as Go's `path/filepath` reads them on Linux: `Clean`, `Match`, and runes out of bytes.
//!
//! A docker build's ignore rules are defined by what Go does, odd corners included. Everything works on bytes,
//! because a file name on Linux is bytes; it knows nothing of directories or patterns beyond one segment.

/// A pattern whose syntax is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPattern;

impl std::fmt::Display for BadPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("syntax error in pattern")
    }
}

impl std::error::Error for BadPattern {}

/// `filepath.Clean`: the shortest name of the same path; `.` for none.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            // Nothing is above the root.
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// `filepath.Join` of two elements; an empty one does not count.
pub(super) fn join(parent: &[u8], child: &[u8]) -> Vec<u8> {
    match (parent.is_empty(), child.is_empty()) {
        (true, true) => Vec::new(),
        (true, false) => clean(child),
        (false, true) => clean(parent),
        (false, false) => clean(&[parent, b"/", child].concat()),
    }
}

/// `filepath.Dir` of a clean path: all but its last element, `.` for none.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => b"/",
        Some(slash) => &path[..slash],
        None => b".",
    }
}

/// `filepath.Base` of a clean path: its last element.
pub(super) fn base(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) if slash + 1 < path.len() => &path[slash + 1..],
        _ => path,
    }
}

/// The first rune and its length in bytes. Go reads a byte that is no UTF-8 as U+FFFD of length 1.
pub(super) fn rune(bytes: &[u8]) -> Option<(char, usize)> {
    (1..=bytes.len().min(4))
        .find_map(|length| std::str::from_utf8(&bytes[..length]).ok()?.chars().next().map(|rune| (rune, length)))
        .or((!bytes.is_empty()).then_some((char::REPLACEMENT_CHARACTER, 1)))
}

/// The runes of some bytes, as Go's `range` walks them.
pub(super) fn runes(mut bytes: &[u8]) -> Vec<char> {
    let mut runes = Vec::with_capacity(bytes.len());
    while let Some((rune, length)) = rune(bytes) {
        runes.push(rune);
        bytes = &bytes[length..];
    }
    runes
}

/// `filepath.Match`. As there, a mistake in the pattern is only noticed on the way that matching takes.
pub(super) fn matches(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, BadPattern> {
    'next_chunk: while !pattern.is_empty() {
        let (star, chunk, rest) = split_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        // The last chunk has to use up the name.
        let enough = |left: &[u8]| left.is_empty() || !pattern.is_empty();
        if let Some(left) = match_chunk(chunk, name)?
            && enough(left)
        {
            name = left;
            continue;
        }
        if star {
            for start in 0..name.iter().position(|byte| *byte == b'/').unwrap_or(name.len()) {
                if let Some(left) = match_chunk(chunk, &name[start + 1..])?
                    && enough(left)
                {
                    name = left;
                    continue 'next_chunk;
                }
            }
        }
        return Ok(false);
    }
    Ok(name.is_empty())
}

/// Whether stars come first, the part up to the next star outside of brackets, and what follows.
fn split_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let pattern = &pattern[stars..];
    let (mut in_brackets, mut at) = (false, 0);
    while at < pattern.len() {
        match pattern[at] {
            b'\\' => at += 1,
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            b'*' if !in_brackets => return (stars > 0, &pattern[..at], &pattern[at..]),
            _ => {}
        }
        at += 1;
    }
    (stars > 0, pattern, b"")
}

/// What is left of a name that begins with a star-less chunk; none when it does not.
///
/// After a mismatch the rest of the chunk is still read for mistakes: `name` is none from there on.
fn match_chunk<'a>(mut chunk: &[u8], name: &'a [u8]) -> Result<Option<&'a [u8]>, BadPattern> {
    let mut name = Some(name);
    while let Some(first) = chunk.first() {
        name = name.filter(|name| !name.is_empty());
        match first {
            b'[' => {
                let here = name.and_then(rune);
                let (matched, rest) = match_class(&chunk[1..], here.map(|(rune, _)| rune))?;
                chunk = rest;
                name = name.zip(here).filter(|_| matched).map(|(name, (_, length))| &name[length..]);
            }
            b'?' => {
                name =
                    name.filter(|name| name[0] != b'/').and_then(|name| rune(name).map(|(_, length)| &name[length..]));
                chunk = &chunk[1..];
            }
            first => {
                let literal = match first {
                    b'\\' => {
                        chunk = &chunk[1..];
                        *chunk.first().ok_or(BadPattern)?
                    }
                    other => *other,
                };
                name = name.filter(|name| name[0] == literal).map(|name| &name[1..]);
                chunk = &chunk[1..];
            }
        }
    }
    Ok(name)
}

/// Reads a class after its `[`: whether the rune is in it, and what follows its `]`.
fn match_class(chunk: &[u8], here: Option<char>) -> Result<(bool, &[u8]), BadPattern> {
    let negated = chunk.first() == Some(&b'^');
    let mut chunk = &chunk[usize::from(negated)..];
    let (mut found, mut ranges) = (false, 0);
    while ranges == 0 || chunk.first() != Some(&b']') {
        let (low, rest) = class_rune(chunk)?;
        let (high, rest) = match rest.first() {
            Some(b'-') => class_rune(&rest[1..])?,
            _ => (low, rest),
        };
        found |= here.is_some_and(|here| low <= here && here <= high);
        chunk = rest;
        ranges += 1;
    }
    Ok((found != negated, &chunk[1..]))
}

fn class_rune(chunk: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let chunk = match chunk.first() {
        None | Some(b'-' | b']') => return Err(BadPattern),
        Some(b'\\') => &chunk[1..],
        Some(_) => chunk,
    };
    let (found, length) = rune(chunk).ok_or(BadPattern)?;
    // A class is never the end of the pattern, and U+FFFD of length 1 is a byte that is no UTF-8.
    if chunk.len() == length || (found == char::REPLACEMENT_CHARACTER && length == 1) {
        return Err(BadPattern);
    }
    Ok((found, &chunk[length..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_cleaned_as_go_cleans_it() {
        for (path, cleaned) in [
            ("", "."),
            (".", "."),
            ("a//b/./c/", "a/b/c"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("/", "/"),
            ("../..", "../.."),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }

    #[test]
    fn a_name_matches_as_go_matches_it() {
        // From Go 1.26's filepath.Match; none = ErrBadPattern.
        for (pattern, name, expected) in [
            ("*", "a/b", Some(false)),
            ("a*b*c", "axxbyyc", Some(true)),
            ("[a-c]x", "bx", Some(true)),
            ("[^a-c]x", "bx", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("\\*", "*", Some(true)),
            ("a\\", "a", None),
            ("[", "a", None),
            ("a*[", ".", Some(false)),
            ("?", "ü", Some(true)),
        ] {
            let found = matches(pattern.as_bytes(), name.as_bytes()).ok();
            assert_eq!(found, expected, "{pattern} against {name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_matched_without_panic(
            pattern in proptest::collection::vec(proptest::sample::select(b"*?[]^-\\/a\xffz".to_vec()), 0..12),
            name in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let _ = matches(&pattern, &name);
            prop_assert_eq!(clean(&clean(&name)), clean(&name));
        }
    }
}
