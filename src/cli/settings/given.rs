//! A value that remembers where it came from.

use std::fmt;
use std::path::PathBuf;

use crate::failure::{Failure, Kind};

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
