//! Which entries of a directory are sent, which are only walked through, and which are left alone.
//!
//! The rules are those of fsutil's filtered walk (`filter.go`), so that the same entries are sent as by docker:
//! an include pattern can be met far below a directory that matches nothing itself, and an exception (`!`) can
//! bring back what lies below an excluded one. It decides from paths alone and touches no disk.

use anyhow::Context as _;

use super::go_path::BadPattern;
use super::pattern::{Matched, Pattern, Patterns};

/// Include and exclude patterns of one request.
#[derive(Debug)]
pub(super) struct Filter {
    include: Option<Rules>,
    exclude: Option<Rules>,
}

/// Patterns, and whether those that could bring something in are plain prefixes: only then can a directory be
/// left alone without looking into it.
#[derive(Debug)]
struct Rules {
    patterns: Patterns,
    only_prefixes: bool,
}

/// What a directory's entries need to know of it. The default is the root's.
#[derive(Debug, Clone, Default)]
pub(super) struct Above {
    include: Matched,
    exclude: Matched,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it; if it is a directory, look into it.
    Send,
    /// Send it only if something below it is sent; so look into it.
    WalkThrough,
    /// Leave it alone, with all that is below it.
    Leave,
}

impl Filter {
    /// Takes the patterns of a request; an absent include list lets everything in.
    ///
    /// # Errors
    /// When a pattern's syntax is wrong.
    pub(super) fn new(include: Option<&[Vec<u8>]>, exclude: Option<&[Vec<u8>]>) -> anyhow::Result<Filter> {
        let rules = |patterns: Option<&[Vec<u8>]>, brings_in: fn(&Pattern) -> bool| {
            let Some(patterns) = patterns.filter(|patterns| !patterns.is_empty()) else { return Ok(None) };
            let patterns = Patterns::new(patterns)?;
            let only_prefixes = patterns
                .iter()
                .filter(|pattern| brings_in(pattern))
                .all(|pattern| !pattern.without_trailing_glob().iter().any(|byte| b"*[]?^\\".contains(byte)));
            anyhow::Ok(Some(Rules { patterns, only_prefixes }))
        };
        Ok(Filter {
            include: rules(include, |pattern| !pattern.exception).context("could not read the include patterns")?,
            exclude: rules(exclude, |pattern| pattern.exception).context("could not read the exclude patterns")?,
        })
    }

    /// Judges an entry, and says what its own entries need to know.
    ///
    /// # Errors
    /// When a pattern that has to be asked cannot be compiled.
    pub(super) fn judge(&self, path: &[u8], is_dir: bool, above: &Above) -> Result<(Verdict, Above), BadPattern> {
        let mut verdict = Verdict::Send;
        let mut below = Above::default();
        let none = if is_dir { Verdict::WalkThrough } else { Verdict::Leave };
        if let Some(rules) = &self.include {
            let (matched, each) = rules.patterns.matches(path, &above.include)?;
            below.include = each;
            if !matched {
                if is_dir && rules.only_prefixes && !rules.reaches_below(path, |pattern| !pattern.exception) {
                    return Ok((Verdict::Leave, below));
                }
                verdict = none;
            }
        }
        if let Some(rules) = &self.exclude {
            let (matched, each) = rules.patterns.matches(path, &above.exclude)?;
            below.exclude = each;
            if matched {
                if is_dir && rules.only_prefixes && !rules.reaches_below(path, |pattern| pattern.exception) {
                    return Ok((Verdict::Leave, below));
                }
                verdict = none;
            }
        }
        Ok((verdict, below))
    }

    /// Whether the bytes of a file that was sent may be had. fsutil judges anew when a file is opened, by other rules
    /// than when it is listed, and sends an empty file where the two disagree: what CI's build then sees as well.
    ///
    /// # Errors
    /// When a pattern that has to be asked cannot be compiled.
    pub(super) fn opens(&self, path: &[u8]) -> Result<bool, BadPattern> {
        let matches =
            |rules: &Option<Rules>| rules.as_ref().map(|rules| rules.patterns.matches_with_parents(path)).transpose();
        Ok(matches(&self.include)?.unwrap_or(true) && !matches(&self.exclude)?.unwrap_or(false))
    }
}

impl Rules {
    /// Whether one of the patterns names something below a directory.
    fn reaches_below(&self, directory: &[u8], brings_in: fn(&Pattern) -> bool) -> bool {
        let directory = [directory, b"/"].concat();
        self.patterns.iter().filter(|pattern| brings_in(pattern)).any(|pattern| {
            let prefix = [pattern.without_trailing_glob(), b"/"].concat();
            prefix.starts_with(&directory)
        })
    }
}
