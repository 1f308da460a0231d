//! Why a part of a blob, or all of it, did not come, and whether to ask again.

use crate::registry::RegistryError;
use crate::retry::Retry;

/// Why a part, or a blob, did not come.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A registry refused, or did not answer.
    Registry(RegistryError),
    /// A registry sends nothing more.
    Still { host: String, seconds: f64 },
    /// A registry that knew ranges knows them no longer.
    NoRanges { host: String },
    /// All of it came, and the bytes are other ones.
    Wrong(String),
    /// The bytes are right, and what they unpack to is not what was promised.
    OtherContent(String),
    /// It could not be written, or read again.
    Disk(std::io::Error),
    /// The disk took no more, so that nothing is tried any more.
    GivenUp,
}

impl Trouble {
    /// Whether asking again may help.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Trouble::Registry(error) => error.retry(),
            Trouble::Still { .. } | Trouble::NoRanges { .. } => Retry::Later,
            Trouble::Wrong(_) | Trouble::OtherContent(_) | Trouble::Disk(_) | Trouble::GivenUp => Retry::Never,
        }
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Trouble::Registry(error) => error.to_string(),
            Trouble::Still { host, seconds } => format!("{host} sent nothing more for {seconds:.0} s"),
            Trouble::NoRanges { host } => format!("{host} answered with parts of it, and then no longer"),
            Trouble::Wrong(what) | Trouble::OtherContent(what) => what.clone(),
            Trouble::Disk(error) => format!("could not write it: {error}"),
            Trouble::GivenUp => "the disk takes no more".to_owned(),
        }
    }
}
