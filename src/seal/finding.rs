//! A thing that an image must not have, and what can be done about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::erase::Located;
use crate::report::seal::FindingKind;

/// A thing that an image must not have.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// What kind of thing it is.
    pub(super) kind: FindingKind,
    /// Where it is: a file, or a record.
    pub(super) place: String,
    /// What it is, in a few words.
    pub(super) what: String,
    /// What is done about it.
    pub(super) action: Action,
}

/// What is done about a finding. Every change is one of the state root, or of our own folder beside the manifest.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// `--fix` overwrites and removes a file or directory of the root.
    Erase(Located),
    /// `--fix` overwrites the parts of a database that it does not use.
    Zero(Located, Vec<Range<u64>>),
    /// BuildKit removes the record with this id, after its files, if they are known, were overwritten.
    Forget(String, Option<Located>),
    /// BuildKit forgets its history, which is in this database, after these blobs were overwritten.
    ForgetHistory(PathBuf, Vec<Located>),
    /// `--fix` overwrites and removes the key of the manifest's hashes, which is in this folder.
    EraseKey(PathBuf, Located),
    /// BuildKit collects its garbage.
    Collect,
    /// The owner of the thing has to act, and this is how.
    Ask(String),
}

impl Finding {
    /// Something of a kind, at a place.
    pub(super) fn new(kind: FindingKind, place: impl fmt::Display, what: impl Into<String>, action: Action) -> Finding {
        Finding { kind, place: place.to_string(), what: what.into(), action }
    }

    /// Whether cleaning this finding also cleans `file`, a path below the root.
    pub(super) fn covers(&self, file: &Path) -> bool {
        match &self.action {
            Action::Erase(located) | Action::Forget(_, Some(located)) => file.starts_with(&located.path),
            Action::ForgetHistory(database, blobs) => database == file || blobs.iter().any(|blob| blob.path == file),
            // The second look finds what is still in the parts that the database uses.
            Action::Zero(database, _) => database.path == file,
            Action::Forget(_, None) | Action::EraseKey(..) | Action::Collect | Action::Ask(_) => false,
        }
    }

    /// What the owner has to do; none when `--fix` does it.
    pub(super) fn remedy(&self) -> Option<&str> {
        match &self.action {
            Action::Ask(remedy) => Some(remedy),
            _ => None,
        }
    }
}
