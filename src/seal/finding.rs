//! Something that an image must not have, and what is to be done about it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::places::Chore;
use crate::report::seal::FindingKind;

/// Something that was found.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// What kind of thing it is.
    pub(super) kind: FindingKind,
    /// Where it is: a file, or a record.
    pub(super) place: String,
    /// What it is, in a few words.
    pub(super) what: String,
    /// What is done about it.
    pub(super) cure: Cure,
}

/// What is done about a finding.
#[derive(Debug, Clone)]
pub(super) enum Cure {
    /// A file or directory is overwritten and removed.
    Erase(PathBuf),
    /// A file is overwritten, and stays, empty.
    Blank(PathBuf),
    /// What a machine keeps is cleaned as is usual for it.
    Clean(Chore),
    /// The parts of a database that it does not use are overwritten.
    Zero(PathBuf, Vec<Range<u64>>),
    /// BuildKit removes the record, after this, if anything, was overwritten.
    Forget(String, Option<PathBuf>),
    /// BuildKit forgets its history, which is in this database, after these blobs were overwritten.
    ForgetHistory(PathBuf, Vec<PathBuf>),
    /// BuildKit collects its garbage.
    Collect,
    /// It is for its owner to clean, and this is how.
    Ask(String),
}

impl Finding {
    /// Whether the file is cleaned along with it.
    pub(super) fn covers(&self, file: &Path) -> bool {
        match &self.cure {
            Cure::Erase(path) | Cure::Blank(path) | Cure::Forget(_, Some(path)) => file.starts_with(path),
            Cure::Clean(chore) => file.starts_with(&chore.path),
            Cure::ForgetHistory(database, blobs) => database == file || blobs.iter().any(|blob| blob == file),
            // What is left in it then is found when it is looked at again.
            Cure::Zero(database, _) => database == file,
            Cure::Forget(_, None) | Cure::Collect | Cure::Ask(_) => false,
        }
    }

    /// What its owner has to do; none when it can be cleaned.
    pub(super) fn remedy(&self) -> Option<&str> {
        match &self.cure {
            Cure::Ask(remedy) => Some(remedy),
            _ => None,
        }
    }
}
