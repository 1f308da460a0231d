//! A value that cannot print itself.

use std::fmt;

use serde::Deserialize;

/// A token, password or key. `Debug` and `Display` show stars; [`Secret::reveal`] is the only way to its text,
/// so that every place that uses one can be found.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes a value into custody.
    pub(crate) fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself, for the wire only.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is anything to protect.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}
