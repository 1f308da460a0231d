//! Where a setting may come from, strongest first, and the value that remembers where it did come from.
//!
//! A flag wins over its variable, that over the settings file, that over the default; a list comes whole from the
//! strongest of them. An empty variable counts as not set, because CI templates cannot leave one out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Environment;
use super::file::SettingsFile;
use super::values;
use crate::cli::args;
use crate::failure::{Failure, Kind};

/// The settings file that is read when none is named.
const SETTINGS_FILE: &str = "cachewarm.toml";

/// Where a value came from; the order is that of strength.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The command's argument.
    Argument,
    /// A flag or an operand of the line after `--`.
    Line(&'static str),
    /// `--NAME`.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(String),
    /// A key of a settings file.
    Entry { key: &'static str, file: PathBuf },
    /// The default of `--NAME`.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Argument => f.write_str("the argument PATH|URL"),
            Origin::Line(name @ ("PATH|URL" | "TARGET")) => write!(f, "{name} of the line after --"),
            Origin::Line(name) => write!(f, "--{name} of the line after --"),
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Variable(name) => f.write_str(name),
            Origin::Entry { key, file } => write!(f, "`{key}` in {}", file.display()),
            Origin::Default(name) => write!(f, "the default of --{name}"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given<T> {
    /// What was given.
    pub(crate) value: T,
    /// Where.
    pub(crate) origin: Origin,
}

impl<T> Given<T> {
    /// A usage error about this value.
    pub(crate) fn refused(&self, problem: impl fmt::Display, hint: impl Into<String>) -> anyhow::Error {
        Failure::new(Kind::Usage, format!("could not use {}: {problem:#}", self.origin), hint)
    }
}

impl Given<String> {
    /// What the text means.
    ///
    /// # Errors
    /// A usage error that names where the text came from; `expected` completes "write …".
    pub(crate) fn read<T, E: fmt::Display>(
        &self,
        expected: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> anyhow::Result<Given<T>> {
        let value = read(&self.value).map_err(|problem| self.refused(problem, format!("write {expected}")))?;
        Ok(Given { value, origin: self.origin.clone() })
    }
}

impl Given<Vec<String>> {
    /// What each entry means, in order.
    ///
    /// # Errors
    /// As [`Given::read`].
    pub(crate) fn read_each<T, E: fmt::Display>(
        &self,
        expected: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> anyhow::Result<Vec<T>> {
        let each = self.value.iter().map(|text| read(text));
        each.collect::<Result<_, E>>().map_err(|problem| self.refused(problem, format!("write {expected}")))
    }
}

/// How a variable holds several entries. Line breaks always part them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    /// Commas do too.
    Comma,
    /// Commas do too, except in an entry written with attributes: `type=registry,ref=…`.
    CommaUnlessAttributes,
    /// Entries may hold commas themselves.
    Line,
}

impl Separator {
    fn split(self, text: &str) -> Vec<String> {
        let lines = text.lines().flat_map(|line| {
            let whole = match self {
                Separator::Comma => false,
                Separator::CommaUnlessAttributes => line.split(',').any(|part| part.contains('=')),
                Separator::Line => true,
            };
            if whole { vec![line] } else { line.split(',').collect() }
        });
        lines.map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }
}

/// The places a setting of a command may come from, besides the command line.
pub(crate) struct Sources<'a> {
    /// The command, whose defaults count.
    pub(crate) command: &'static str,
    /// The environment.
    pub(crate) environment: &'a Environment,
    /// The settings file, if there is one.
    pub(crate) file: Option<SettingsFile>,
}

impl<'a> Sources<'a> {
    /// The places for a command; `typed` is its `--config`.
    ///
    /// # Errors
    /// A usage error when the settings file cannot be used.
    pub(crate) fn of(
        command: &'static str,
        typed: Option<String>,
        environment: &'a Environment,
    ) -> anyhow::Result<Sources<'a>> {
        let typed = typed.map(|value| Given { value, origin: Origin::Flag("config") });
        let named = typed.map_or_else(|| environment.setting("config"), |given| Ok(Some(given)))?;
        let names = args::setting_names();
        let file = match named {
            Some(given) => Some(SettingsFile::load(Path::new(&given.value), &names)?),
            None => SettingsFile::of_the_directory(Path::new(SETTINGS_FILE), &names)?,
        };
        Ok(Sources { command, environment, file })
    }

    fn default(&self, name: &'static str) -> Option<Given<String>> {
        let value = super::default_of(self.command, name)?;
        Some(Given { value: value.to_owned(), origin: Origin::Default(name) })
    }

    /// The strongest value of a setting that has one value.
    ///
    /// # Errors
    /// A usage error when a variable is no text or the file holds a list.
    pub(crate) fn one(&self, name: &'static str, typed: Option<String>) -> anyhow::Result<Option<Given<String>>> {
        strongest([
            Ok(typed.map(|value| Given { value, origin: Origin::Flag(name) })),
            self.environment.setting(name),
            self.file.as_ref().map_or(Ok(None), |file| file.one(name)),
            Ok(self.default(name)),
        ])
    }

    /// The strongest value of a setting that always has one, because it has a default.
    ///
    /// # Errors
    /// As [`Sources::one`].
    pub(crate) fn some(&self, name: &'static str, typed: Option<String>) -> anyhow::Result<Given<String>> {
        let given = self.one(name, typed)?;
        Ok(given.unwrap_or_else(|| Given { value: String::new(), origin: Origin::Default(name) }))
    }

    /// The strongest list of a repeatable setting.
    ///
    /// # Errors
    /// A usage error when a variable is no text or the file holds something else than texts.
    pub(crate) fn many(
        &self,
        name: &'static str,
        typed: Vec<String>,
        separator: Separator,
    ) -> anyhow::Result<Option<Given<Vec<String>>>> {
        let split = |given: Given<String>| Given { value: separator.split(&given.value), origin: given.origin };
        strongest([
            Ok(Some(typed).filter(|typed| !typed.is_empty()).map(|value| Given { value, origin: Origin::Flag(name) })),
            self.environment.setting(name).map(|given| given.map(split)),
            self.file.as_ref().map_or(Ok(None), |file| file.many(name)),
            Ok(self.default(name).map(|given| Given { value: vec![given.value], origin: given.origin })),
        ])
    }

    /// The strongest value of a switch.
    ///
    /// # Errors
    /// A usage error when it is neither true nor false.
    pub(crate) fn switch(&self, name: &'static str, typed: Option<String>) -> anyhow::Result<Option<Given<bool>>> {
        let given = self.one(name, typed)?;
        given.map(|given| given.read("true or false", values::switch)).transpose()
    }

    /// Whether a switch is on; one that is given nowhere is off.
    ///
    /// # Errors
    /// As [`Sources::switch`].
    pub(crate) fn on(&self, name: &'static str, typed: Option<String>) -> anyhow::Result<bool> {
        Ok(self.switch(name, typed)?.is_some_and(|given| given.value))
    }

    /// The strongest path, absolute.
    ///
    /// # Errors
    /// As [`Sources::one`], and when it is no path.
    pub(crate) fn path(&self, name: &'static str, typed: Option<String>) -> anyhow::Result<Option<PathBuf>> {
        let given = self.one(name, typed)?;
        given.map(|given| Ok(given.read("a path", values::path)?.value)).transpose()
    }

    /// A span of time, if one was given anywhere.
    pub(crate) fn duration(&self, name: &'static str, typed: Option<String>) -> anyhow::Result<Option<Duration>> {
        let given = self.one(name, typed)?;
        given.map(|given| Ok(given.read("60s, 5m or 1h30m", values::duration)?.value)).transpose()
    }
}

fn strongest<T>(places: [anyhow::Result<Option<T>>; 4]) -> anyhow::Result<Option<T>> {
    for place in places {
        if let Some(value) = place? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_variable_are_parted_by_commas_unless_they_hold_commas() {
        assert_eq!(Separator::Comma.split("a, b\nc,,"), ["a", "b", "c"]);
        assert_eq!(Separator::Line.split("A=1,2\n\nB=3"), ["A=1,2", "B=3"]);
        let donors = "type=registry,ref=r/one\nr/two:x,r/three";
        assert_eq!(Separator::CommaUnlessAttributes.split(donors), ["type=registry,ref=r/one", "r/two:x", "r/three"]);
    }

    #[test]
    fn the_stronger_place_wins_and_a_weaker_one_is_not_even_looked_at() {
        let found = strongest([Ok(None), Ok(Some(2)), Ok(Some(3)), Err(anyhow::anyhow!("never asked"))]);
        assert_eq!(found.expect("it was found"), Some(2));
    }
}
