//! What a setting is: a flag, whose name is its key in the settings file and, in capitals, its variable.

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ValueHint};

/// A setting of a command: a row of [`super::table`].
#[derive(Debug)]
pub(crate) struct Setting {
    /// `cache-from`: the flag is `--cache-from`, the variable `CACHEWARM_CACHE_FROM`.
    pub(crate) name: &'static str,
    /// How many values it has.
    pub(crate) kind: Kind,
    /// The value when nobody gives one. A setting without it has none, or its help says what happens.
    pub(crate) default: Option<&'static str>,
    /// What a settings file may say that nobody named.
    pub(crate) checkout: Leave,
    /// What the help calls its value.
    value: &'static str,
    /// The values that the help and completions list; whoever reads the value refuses others, wherever they come from.
    choices: &'static [&'static str],
    letter: Option<char>,
    is_hidden: bool,
    help: &'static str,
}

/// How many values a setting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One.
    Text,
    /// Any number; a variable parts them so.
    List(Separator),
    /// True or false; the flag alone is true.
    Switch,
    /// How often the flag is given.
    Count,
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

/// What a settings file may say under a key when nobody named the file: whoever wrote the checkout may have written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Anything.
    Any,
    /// Paths that stay in the directory of the file.
    Inside,
    /// One such path of a JSON file: others are read by a program that is started for them.
    Json,
    /// `K=V` only: `K` alone reads a variable of the caller's environment.
    WithValue,
    /// These values, which ask for more than the default or grant nothing.
    Only(&'static [&'static str]),
    /// Caches in registries only: a directory is one of the host.
    InRegistry,
    /// Formats only: `FORMAT=FILE` writes a file.
    WithoutFile,
    /// Nothing. So with what is enough for a verdict; with programs, images and daemons; directories, secrets and agents of the host; the server that gets a
    /// token, and the identity that is shown to servers; what is written, erased or passed over on this machine.
    Nothing,
}

/// A setting with one value.
pub(super) const fn text(name: &'static str, value: &'static str, checkout: Leave, help: &'static str) -> Setting {
    let kind = Kind::Text;
    Setting { name, kind, default: None, checkout, value, choices: &[], letter: None, is_hidden: false, help }
}

/// A repeatable setting.
pub(super) const fn list(
    name: &'static str,
    value: &'static str,
    separator: Separator,
    checkout: Leave,
    help: &'static str,
) -> Setting {
    Setting { kind: Kind::List(separator), ..text(name, value, checkout, help) }
}

/// A setting that is on or off.
pub(super) const fn switch(name: &'static str, checkout: Leave, help: &'static str) -> Setting {
    Setting { kind: Kind::Switch, ..text(name, "BOOL", checkout, help) }
}

/// A setting whose flag counts.
pub(super) const fn count(name: &'static str, checkout: Leave, help: &'static str) -> Setting {
    Setting { kind: Kind::Count, ..text(name, "", checkout, help) }
}

impl Setting {
    /// With a default, as one would type it.
    pub(super) const fn or(self, default: &'static str) -> Setting {
        Setting { default: Some(default), ..self }
    }

    /// With a list of the values it may have.
    pub(super) const fn of(self, choices: &'static [&'static str]) -> Setting {
        Setting { choices, ..self }
    }

    /// With another name of its value in the help.
    pub(super) const fn called(self, value: &'static str) -> Setting {
        Setting { value, ..self }
    }

    /// With a letter beside the long flag.
    pub(super) const fn letter(self, letter: char) -> Setting {
        Setting { letter: Some(letter), ..self }
    }

    /// Not in the help.
    pub(super) const fn hidden(self) -> Setting {
        Setting { is_hidden: true, ..self }
    }

    /// Its variable: `cache-from` is `CACHEWARM_CACHE_FROM`.
    pub(crate) fn variable(&self) -> String {
        format!("CACHEWARM_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// Its flag, with its default and its variable in the help.
    pub(super) fn arg(&self) -> Arg {
        let default = self.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
        let help = format!("{}{default} [env: {}]", self.help, self.variable());
        let arg = Arg::new(self.name).long(self.name).help(help).hide(self.is_hidden);
        let arg = match self.letter {
            Some(letter) => arg.short(letter),
            None => arg,
        };
        let hint = match self.value {
            "FILE" | "FILE.json" => ValueHint::FilePath,
            "DIR" | "DIR|URL" => ValueHint::DirPath,
            "PATH" => ValueHint::AnyPath,
            "URL" => ValueHint::Url,
            _ => ValueHint::Unknown,
        };
        let valued = |arg: Arg| arg.value_name(self.value).value_hint(hint).value_parser(Listed(self.choices));
        match self.kind {
            Kind::Text => valued(arg),
            Kind::List(_) => valued(arg).action(ArgAction::Append),
            Kind::Switch => valued(arg).num_args(0..=1).require_equals(true).default_missing_value("true"),
            Kind::Count => arg.action(ArgAction::Count),
        }
    }
}

/// Takes any text, and lists values for the help and for completions.
#[derive(Clone)]
struct Listed(&'static [&'static str]);

impl TypedValueParser for Listed {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = self.0.iter().map(PossibleValue::new);
        if self.0.is_empty() { None } else { Some(Box::new(values)) }
    }
}

impl Separator {
    /// The entries of a variable.
    pub(crate) fn split(self, text: &str) -> Vec<String> {
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
}
