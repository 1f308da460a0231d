//! The places that a setting may come from, strongest first: CI's own line, a flag, its variable, the settings file, the
//! default. A list comes whole from the strongest of them. An empty variable counts as not set, because CI templates cannot
//! leave one out.

use std::fmt;
use std::path::{Path, PathBuf};

use super::file::SettingsFile;
use super::values;
use super::{Environment, Given, Origin};
use crate::cli::args::{self, Typed};
use crate::cli::line::Line;
use crate::cli::setting::{Kind, Setting};
use crate::cli::table;

/// The settings file that is read when none is named.
const SETTINGS_FILE: &str = "cachewarm.toml";

/// What a bake file, or CI's own line, fixes.
pub(crate) const OF_THE_BUILD: [&str; 11] = [
    "file",
    "target",
    "build-arg",
    "platform",
    "build-context",
    "add-host",
    "network",
    "shm-size",
    "ulimit",
    "label",
    "no-cache-filter",
];

/// The settings of a command, asked for by their names in the table.
pub(crate) struct Sources<'a> {
    /// The environment.
    pub(crate) environment: &'a Environment,
    command: &'static str,
    typed: Typed,
    line: Option<Line>,
    file: Option<SettingsFile>,
}

impl<'a> Sources<'a> {
    /// The places for a command, without CI's line.
    ///
    /// # Errors
    /// A usage error when the settings file cannot be used.
    pub(crate) fn of(command: &'static str, typed: Typed, environment: &'a Environment) -> anyhow::Result<Sources<'a>> {
        let mut from = Sources { environment, command, typed, line: None, file: None };
        let keys = table::keys();
        from.file = match from.one("config")? {
            Some(given) => Some(SettingsFile::load(Path::new(&given.value), &keys)?),
            None => SettingsFile::of_the_directory(Path::new(SETTINGS_FILE), &keys)?,
        };
        Ok(from)
    }

    /// The places for a line of words.
    #[cfg(test)]
    pub(crate) fn typed(command: &'static str, words: &[&str], environment: &'a Environment) -> anyhow::Result<Self> {
        let line = [&["cachewarm", command], words].concat().into_iter().map(std::ffi::OsString::from);
        let (_, typed) = args::parse(line).unwrap_or_else(|error| panic!("{error}"));
        let mut from = Sources::of(command, typed, environment)?;
        from.read_line()?;
        Ok(from)
    }

    /// Reads CI's own line, if there is one. Beside it nothing else says what is built; only --cache-from, --no-cache and
    /// --allow of ours go with it, as with a bake file.
    ///
    /// # Errors
    /// A usage error that names the word, or the setting that says again what the line says.
    pub(crate) fn read_line(&mut self) -> anyhow::Result<()> {
        let words = self.typed.many(args::LINE);
        if words.is_empty() {
            return Ok(());
        }
        let line = Line::of(&words)?;
        let mut said = [&OF_THE_BUILD[..], &["context", "bake", "bake-target"]].concat();
        said.extend(["secret", "ssh"].iter().filter(|_| line.is_build()));
        if let Some(origin) = self.strongest_of(&said)? {
            let hint = "leave it out, or leave the line out and give the whole build by flags";
            return Err(Given { value: (), origin }.refused("the line after -- says what is built", hint));
        }
        self.line = Some(line);
        Ok(())
    }

    /// CI's own line.
    pub(crate) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// The path of the settings file that is read.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| file.path().to_owned())
    }

    fn setting(&self, name: &'static str) -> Option<&'static Setting> {
        table::find(self.command, name)
    }

    fn of_the_environment(&self, name: &'static str) -> anyhow::Result<Option<Given<String>>> {
        let Some(variable) = self.setting(name).map(Setting::variable) else { return Ok(None) };
        let value = self.environment.filled(&variable)?;
        Ok(value.map(|value| Given { value, origin: Origin::Variable(variable) }))
    }

    fn default(&self, name: &'static str) -> Option<Given<String>> {
        let value = table::settings_of(self.command).find(|setting| setting.name == name)?.default?.to_owned();
        Some(Given { value, origin: Origin::Default(name) })
    }

    fn typed_one(&self, name: &'static str) -> Option<Given<String>> {
        let argument = Some(args::ARGUMENT).filter(|_| name == "context").and_then(|name| self.typed.one(name));
        let argument = argument.map(|value| Given { value, origin: Origin::Argument });
        argument.or_else(|| Some(Given { value: self.typed.one(name)?, origin: Origin::Flag(name) }))
    }

    /// The strongest value of a setting that has one value.
    ///
    /// # Errors
    /// A usage error when a variable is no text or the file holds a list.
    pub(crate) fn one(&self, name: &'static str) -> anyhow::Result<Option<Given<String>>> {
        strongest([
            Ok(self.line.as_ref().and_then(|line| line.one(name))),
            Ok(self.typed_one(name)),
            self.of_the_environment(name),
            self.file.as_ref().map_or(Ok(None), |file| file.one(name)),
            Ok(self.default(name)),
        ])
    }

    /// The strongest list of a repeatable setting.
    ///
    /// # Errors
    /// A usage error when a variable is no text or the file holds something else than texts.
    pub(crate) fn many(&self, name: &'static str) -> anyhow::Result<Option<Given<Vec<String>>>> {
        let split = |given: Given<String>| {
            let value = match self.setting(name).map(|setting| setting.kind) {
                Some(Kind::List(separator)) => separator.split(&given.value),
                _ => vec![given.value],
            };
            Given { value, origin: given.origin }
        };
        let typed = Some(self.typed.many(name)).filter(|typed| !typed.is_empty());
        strongest([
            Ok(self.line.as_ref().and_then(|line| line.many(name))),
            Ok(typed.map(|value| Given { value, origin: Origin::Flag(name) })),
            self.of_the_environment(name).map(|given| given.map(split)),
            self.file.as_ref().map_or(Ok(None), |file| file.many(name)),
            Ok(self.default(name).map(split)),
        ])
    }

    /// The strongest place that gives one of these settings.
    ///
    /// # Errors
    /// As [`Sources::one`] and [`Sources::many`].
    pub(crate) fn strongest_of(&self, names: &[&'static str]) -> anyhow::Result<Option<Origin>> {
        let mut origins = Vec::new();
        for name in names {
            origins.extend(match self.setting(name).map(|setting| setting.kind) {
                Some(Kind::List(_)) => self.many(name)?.map(|given| given.origin),
                _ => self.one(name)?.map(|given| given.origin),
            });
        }
        Ok(origins.into_iter().min())
    }

    /// The strongest text, if there is one.
    ///
    /// # Errors
    /// As [`Sources::one`].
    pub(crate) fn text(&self, name: &'static str) -> anyhow::Result<Option<String>> {
        Ok(self.one(name)?.map(|given| given.value))
    }

    /// What the strongest text means, if there is one; a form is what completes "write …", and who reads it.
    ///
    /// # Errors
    /// As [`Sources::one`], and when it means nothing.
    pub(crate) fn read<T, E: fmt::Display>(
        &self,
        name: &'static str,
        (expected, read): (&str, impl FnOnce(&str) -> Result<T, E>),
    ) -> anyhow::Result<Option<T>> {
        self.one(name)?.map(|given| Ok(given.read(expected, read)?.value)).transpose()
    }

    /// What the strongest text means of a setting that always has one, because it has a default.
    ///
    /// # Errors
    /// As [`Sources::read`].
    pub(crate) fn always<T, E: fmt::Display>(
        &self,
        name: &'static str,
        (expected, read): (&str, impl FnOnce(&str) -> Result<T, E>),
    ) -> anyhow::Result<T> {
        Ok(self.some(name)?.read(expected, read)?.value)
    }

    /// The strongest value of a setting that always has one, because it has a default.
    ///
    /// # Errors
    /// As [`Sources::one`].
    pub(crate) fn some(&self, name: &'static str) -> anyhow::Result<Given<String>> {
        Ok(self.one(name)?.unwrap_or_else(|| Given { value: String::new(), origin: Origin::Default(name) }))
    }

    /// What each entry of the strongest list means; none when there is no list.
    ///
    /// # Errors
    /// As [`Sources::many`], and when an entry means nothing.
    pub(crate) fn each<T, E: fmt::Display>(
        &self,
        name: &'static str,
        (expected, read): (&str, impl Fn(&str) -> Result<T, E>),
    ) -> anyhow::Result<Vec<T>> {
        self.many(name)?.map_or(Ok(Vec::new()), |given| given.read_each(expected, read))
    }

    /// The strongest value of a switch.
    ///
    /// # Errors
    /// A usage error when it is neither true nor false.
    pub(crate) fn switch(&self, name: &'static str) -> anyhow::Result<Option<Given<bool>>> {
        let (expected, read) = values::SWITCH;
        self.one(name)?.map(|given| given.read(expected, read)).transpose()
    }

    /// Whether a switch is on; one that is given nowhere is off.
    ///
    /// # Errors
    /// As [`Sources::switch`].
    pub(crate) fn on(&self, name: &'static str) -> anyhow::Result<bool> {
        Ok(self.read(name, values::SWITCH)?.unwrap_or(false))
    }
}

fn strongest<T>(places: [anyhow::Result<Option<T>>; 5]) -> anyhow::Result<Option<T>> {
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
    fn the_stronger_place_wins_and_a_weaker_one_is_not_even_looked_at() {
        let found = strongest([Ok(None), Ok(Some(2)), Ok(Some(3)), Ok(None), Err(anyhow::anyhow!("never asked"))]);
        assert_eq!(found.expect("it was found"), Some(2));
    }
}
