//! What a builder's state root holds, read from disk.
//!
//! [`read`] goes through the databases of the root once: for each worker its records ([`records`]) and what backs them
//! ([`snapshots`], [`blobs`]), and says of every record what lies behind it ([`classify`]).
//!
//! **Invariant:** reads only, takes no lock and needs no daemon; a torn or foreign file gives a typed error, never a
//! panic. Beside a running daemon each file is consistent in itself, not with the others.

pub(crate) mod bolt;

mod blobs;
mod classify;
#[cfg(test)]
pub(crate) mod fixture;
mod records;
mod root;
mod snapshots;
#[cfg(test)]
mod tests;
mod unreadable;
mod worker;

pub(crate) use classify::{Class, Loss, Survival};
pub(crate) use records::{Record, RecordType};
pub(crate) use root::{read, worker_directories};
pub(crate) use snapshots::{SnapshotKind, files_directory, snapshot_store};
pub(crate) use unreadable::Unreadable;
pub(crate) use worker::{Tally, Worker};
