//! A value that cannot print itself.

use std::fmt;

use serde::Deserialize;

/// A token, password or key: text, or the bytes of a file. `Debug` and `Display` show stars; [`Secret::reveal`] and
/// [`Secret::reveal_bytes`] are the only ways to the value, so that every place that uses one can be found.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret<T = String>(T);

impl Secret {
    /// Takes text into custody.
    pub(crate) fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The text itself, for the wire only.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl Secret<Vec<u8>> {
    /// Takes bytes into custody, which need not be text: a keystore is a secret too.
    pub(crate) fn from_bytes(value: impl Into<Vec<u8>>) -> Secret<Vec<u8>> {
        Secret(value.into())
    }
}

impl<T: AsRef<[u8]>> Secret<T> {
    /// The bytes themselves, for the wire and for what hides or searches for them.
    pub(crate) fn reveal_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Whether there is anything to protect.
    pub(crate) fn is_empty(&self) -> bool {
        self.reveal_bytes().is_empty()
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}
