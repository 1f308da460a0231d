//! Patterns of `.dockerignore` and of include lists, exactly as moby/patternmatcher v0.6.1 reads them.
//!
//! What a context holds, and so every cache key of a `COPY`, hangs on these rules, odd corners included: the
//! expected results in the tests come from the Go library itself. It knows nothing of directories and walks.

use std::sync::OnceLock;

use anyhow::Context as _;

use super::go_path::{self, BadPattern};
use super::go_regex;

/// Patterns in order; a later one overrules an earlier one.
#[derive(Debug)]
pub(super) struct Patterns {
    patterns: Vec<Pattern>,
}

/// Which patterns matched a directory: what its entries need to know of it. Empty for the root.
pub(super) type Matched = Vec<bool>;

impl Patterns {
    /// Reads patterns, one each; blank ones do not count.
    ///
    /// # Errors
    /// When a pattern's syntax is wrong. Like Go, this misses mistakes that only show when matching.
    pub(super) fn new<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> anyhow::Result<Patterns> {
        let mut parsed = Vec::new();
        for pattern in patterns {
            let text = trim(pattern.as_ref());
            if !text.is_empty() {
                let shown = || format!("pattern `{}`", String::from_utf8_lossy(text));
                parsed.push(Pattern::new(text).with_context(shown)?);
            }
        }
        Ok(Patterns { patterns: parsed })
    }

    /// The patterns, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.patterns.iter()
    }

    /// Whether a path matches, given which patterns matched its directory, and which match the path itself.
    ///
    /// # Errors
    /// When a pattern that has to be asked cannot be compiled.
    pub(super) fn matches(&self, path: &[u8], parent: &[bool]) -> Result<(bool, Matched), BadPattern> {
        let mut matched = false;
        let mut each = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            // A directory's match is its entries' match.
            if !parent.get(index).copied().unwrap_or(false) {
                // Nothing to gain from a pattern that agrees with what is known so far.
                if pattern.exception != matched || !pattern.matches(path)? {
                    continue;
                }
            }
            each[index] = true;
            matched = !pattern.exception;
        }
        Ok((matched, each))
    }

    /// Whether a path matches by itself or by a directory above it, without knowing what was found for those.
    ///
    /// This is not always what [`Patterns::matches`] says: `patternmatcher.MatchesOrParentMatches`.
    ///
    /// # Errors
    /// When a pattern that has to be asked cannot be compiled.
    pub(super) fn matches_with_parents(&self, path: &[u8]) -> Result<bool, BadPattern> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        let above: Vec<&[u8]> = ends.map(|end| &path[..end]).collect();
        let mut matched = false;
        for pattern in &self.patterns {
            if pattern.exception != matched {
                continue;
            }
            if pattern.matches(path)? || above.iter().any(|directory| pattern.matches(directory).unwrap_or(false)) {
                matched = !pattern.exception;
            }
        }
        Ok(matched)
    }
}

/// One pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Whether it began with `!`.
    pub(super) exception: bool,
    text: Vec<u8>,
    compiled: OnceLock<Result<Kind, BadPattern>>,
}

#[derive(Debug)]
enum Kind {
    Exact,
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Expression(regex::bytes::Regex),
}

impl Pattern {
    fn new(text: &[u8]) -> anyhow::Result<Pattern> {
        let text = go_path::clean(text);
        let (exception, text) = match text.strip_prefix(b"!") {
            Some([]) => anyhow::bail!("an exception needs a pattern after its `!`"),
            Some(rest) => (true, rest.to_vec()),
            None => (false, text),
        };
        go_path::matches(&text, b".")?;
        Ok(Pattern { exception, text, compiled: OnceLock::new() })
    }

    /// The pattern's text without a last `/**`, then without a last `/*`.
    pub(super) fn without_trailing_glob(&self) -> &[u8] {
        let text = self.text.strip_suffix(b"/**").unwrap_or(&self.text);
        text.strip_suffix(b"/*").unwrap_or(text)
    }

    fn matches(&self, path: &[u8]) -> Result<bool, BadPattern> {
        match self.compiled.get_or_init(|| compile(&self.text)) {
            Err(error) => Err(*error),
            Ok(Kind::Exact) => Ok(path == self.text),
            Ok(Kind::Prefix(prefix)) => Ok(path.starts_with(prefix)),
            // `**/foo` is also the `foo` at the top.
            Ok(Kind::Suffix(suffix)) => Ok(path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)),
            Ok(Kind::Expression(expression)) => Ok(match std::str::from_utf8(path) {
                Ok(_) => expression.is_match(path),
                Err(_) => expression.is_match(go_path::runes(path).iter().collect::<String>().as_bytes()),
            }),
        }
    }
}

/// Finds the kind of a pattern and, where it needs one, its expression.
fn compile(text: &[u8]) -> Result<Kind, BadPattern> {
    let runes = go_path::runes(text);
    // text/scanner, which the library reads with, drops a byte order mark.
    let mut rest = runes.strip_prefix(&['\u{FEFF}']).unwrap_or(&runes);
    let mut expression = vec!['^'];
    let mut kind = Simple::Exact;
    let mut first = true;
    while let Some((rune, after)) = rest.split_first() {
        rest = after;
        match rune {
            '*' if rest.first() == Some(&'*') => {
                // `**/` is `**`.
                rest = rest[1..].strip_prefix(&['/']).unwrap_or(&rest[1..]);
                if !rest.is_empty() {
                    expression.extend("(.*/)?".chars());
                    kind = Simple::Expression;
                } else if kind == Simple::Exact {
                    kind = Simple::Prefix;
                } else {
                    expression.extend(".*".chars());
                    kind = Simple::Expression;
                }
                if first {
                    kind = Simple::Suffix;
                }
            }
            '*' => {
                expression.extend("[^/]*".chars());
                kind = Simple::Expression;
            }
            '?' => {
                expression.extend("[^/]".chars());
                kind = Simple::Expression;
            }
            // The library means to escape `|`, `{` and `}` too, and does not.
            '.' | '+' | '(' | ')' | '$' => expression.extend(['\\', *rune]),
            '\\' => {
                expression.push('\\');
                if let Some((escaped, after)) = rest.split_first() {
                    expression.push(*escaped);
                    rest = after;
                    kind = Simple::Expression;
                }
            }
            '[' | ']' => {
                expression.push(*rune);
                kind = Simple::Expression;
            }
            other => expression.push(*other),
        }
        first = false;
    }
    Ok(match kind {
        Simple::Exact => Kind::Exact,
        Simple::Prefix => Kind::Prefix(text[..text.len() - 2].to_vec()),
        Simple::Suffix => Kind::Suffix(text[2..].to_vec()),
        Simple::Expression => {
            expression.push('$');
            let translated = go_regex::translate(&expression)?;
            Kind::Expression(regex::bytes::Regex::new(&translated).map_err(|_| BadPattern)?)
        }
    })
}

#[derive(PartialEq)]
enum Simple {
    Exact,
    Prefix,
    Suffix,
    Expression,
}

fn trim(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or(text.trim_ascii(), |text| text.trim().as_bytes())
}
