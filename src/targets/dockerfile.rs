//! A tolerant look at a Dockerfile's text, for what a person should be warned about before the build.
//!
//! BuildKit alone says what a Dockerfile means; this reads just enough of its grammar (frontend/dockerfile/parser) to
//! find whole instructions: continuation lines, comments between them, heredocs, the escape directive, any case.
//! It never fails: what it does not understand it passes over.

use std::collections::BTreeSet;

use super::dockerfile_words::{heredocs, words};

/// What a Dockerfile says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DockerfileScan {
    /// The image of its `# syntax=` line.
    pub(crate) syntax: Option<String>,
    /// The names of all ARGs, of any stage and before the first one.
    pub(crate) args: BTreeSet<String>,
}

/// Build args that mean something without any ARG (dockerfile reference, "Predefined ARGs"); in either case of letters.
const PREDEFINED: [&str; 7] =
    ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH", "TARGETSTAGE"];

/// What platform args begin with.
const PLATFORM_ARGS: [&str; 5] = ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT"];

/// Looks through a Dockerfile.
pub(crate) fn scan(text: &str) -> DockerfileScan {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = Directives::of(text);
    let mut scan = DockerfileScan { syntax: directives.syntax, ..DockerfileScan::default() };
    for instruction in instructions(text, directives.escape) {
        scan.take(&instruction);
    }
    scan
}

impl DockerfileScan {
    /// Those of the build args that no ARG takes and that mean nothing by themselves.
    ///
    /// Empty when a frontend of another kind reads the file: its rules are its own.
    pub(crate) fn unconsumed<'a>(&self, build_args: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let foreign = self.syntax.as_deref().is_some_and(|image| {
            !image.rsplit('/').next().is_some_and(|name| name.to_lowercase().starts_with("dockerfile"))
        });
        let unconsumed = |name: &&str| !foreign && !self.args.contains(*name) && !is_predefined(name);
        build_args.into_iter().filter(unconsumed).collect()
    }

    fn take(&mut self, instruction: &Instruction) {
        let mut words = words(&instruction.text, instruction.escape);
        if words.first().is_some_and(|word| word.eq_ignore_ascii_case("ONBUILD")) {
            words.remove(0);
        }
        if let Some((name, rest)) = words.split_first()
            && name.eq_ignore_ascii_case("ARG")
        {
            let names = rest.iter().map(|word| word.split('=').next().unwrap_or(word));
            self.args.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
}

fn is_predefined(name: &str) -> bool {
    let upper = name.to_uppercase();
    let platform = ["TARGET", "BUILD"].iter().filter_map(|prefix| name.strip_prefix(prefix));
    PREDEFINED.contains(&upper.as_str())
        || name.starts_with("BUILDKIT_")
        || platform.into_iter().any(|rest| PLATFORM_ARGS.contains(&rest))
}

/// The lines before the first instruction that direct the parser.
struct Directives {
    syntax: Option<String>,
    escape: char,
}

impl Directives {
    fn of(text: &str) -> Directives {
        let mut directives = Directives { syntax: None, escape: '\\' };
        for line in text.lines().skip_while(|line| line.starts_with("#!")) {
            let Some((key, value)) = line.trim_start().strip_prefix('#').and_then(|line| line.split_once('=')) else {
                break;
            };
            let value = value.trim();
            match key.trim().to_lowercase().as_str() {
                "syntax" => directives.syntax = value.split(' ').next().filter(|it| !it.is_empty()).map(str::to_owned),
                "escape" if value == "`" => directives.escape = '`',
                "escape" | "check" => {}
                _ => break,
            }
        }
        directives
    }
}

struct Instruction {
    text: String,
    escape: char,
}

/// Whole instructions: continuation lines joined, comments and empty lines between them dropped, heredocs skipped.
fn instructions(text: &str, escape: char) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut text = String::new();
        let mut part = line;
        while let Some(continued) = continued(part, escape) {
            text.push_str(continued);
            let next = lines.find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
            part = next.unwrap_or("");
        }
        text.push_str(part);
        for heredoc in heredocs(&text, escape) {
            let ends = |line: &str| {
                let line = if heredoc.strips_tabs { line.trim_start_matches('\t') } else { line };
                line == heredoc.name
            };
            // An open heredoc reaches to the end of the file.
            lines.find(|line| ends(line));
        }
        found.push(Instruction { text, escape });
    }
    found
}

/// The line without its continuation character, when it ends with one that is not itself escaped.
fn continued(line: &str, escape: char) -> Option<&str> {
    let line = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!line.ends_with(escape)).then_some(line)
}

#[cfg(test)]
#[path = "dockerfile_tests.rs"]
mod tests;
