//! What a builder's state root holds, read from disk.
//!
//! [`read`] goes through the databases of the root once: for each worker its records ([`records`]) and what backs them
//! ([`snapshots`], [`blobs`]), and says of every record what lies behind it ([`classify`]); and the cache keys that lead
//! to them ([`solver`]). Three more questions have a door of their own: what interrupted work left behind
//! ([`leftovers()`]), whether all bytes are as they were recorded ([`deep()`]), and what garbage collection would take
//! away ([`gc`]).
//!
//! **Invariant:** reads only, takes no lock and needs no daemon; a torn or foreign file gives a typed error, never a
//! panic. Beside a running daemon each file is consistent in itself, not with the others.

pub(crate) mod bolt;

mod blobs;
mod classify;
mod contents;
mod deep;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(fuzzing)]
pub mod fuzz;
pub(crate) mod gc;
mod leftovers;
mod legacy;
mod overwritten;
mod records;
mod root;
mod snapshots;
mod snapshotter;
mod solver;
#[cfg(test)]
mod tests;
mod traces;
mod unreadable;
mod usage;
mod worker;

pub(crate) use classify::Class;
#[cfg(test)]
pub(crate) use classify::Survival;
pub(crate) use deep::{Deep, Fault, deep};
pub(crate) use leftovers::{Leftovers, PartialDownload, held_by, leftovers, lock_file};
pub(crate) use overwritten::overwritten_file;
pub(crate) use records::{Record, RecordType};
pub(crate) use root::{StateRoot, both, databases, history_database, read, worker_directories};
pub(crate) use snapshots::{SnapshotKind, files_directory, snapshot_store};
pub(crate) use snapshotter::auto_snapshotter;
pub(crate) use traces::Stopped;
pub(crate) use unreadable::Unreadable;
pub(crate) use worker::{Tally, Worker};
