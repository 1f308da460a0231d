//! Why a database could not be read.

use std::{fmt, io};

/// Why a database could not be read.
#[derive(Debug)]
pub(crate) enum BoltError {
    /// The file could not be opened or read.
    Io(io::Error),
    /// No valid meta page: the file is not a bbolt database, or its beginning is lost.
    NotBolt,
    /// The newest transaction does not hang together: the file is damaged, or its end is missing.
    Torn {
        /// The page it was noticed at; in an inline bucket the page that holds it.
        page: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A daemon commits faster than the file can be read.
    Busy,
}

impl fmt::Display for BoltError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoltError::Io(error) => error.fmt(f),
            BoltError::NotBolt => f.write_str("not a bbolt database"),
            BoltError::Torn { page, what } => write!(f, "torn database: {what} (page {page})"),
            BoltError::Busy => f.write_str("the database changes faster than it can be read"),
        }
    }
}

impl std::error::Error for BoltError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BoltError::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for BoltError {
    fn from(error: io::Error) -> BoltError {
        BoltError::Io(error)
    }
}
