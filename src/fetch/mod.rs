//! Brings large blobs from registries into a builder's content store, over many connections at once.
//!
//! [`lazy()`] reads from a root which blobs are wanted, [`mod@plan`] decides in which order and in which parts, [`fetch()`] gets
//! the parts, a [`mod@follow`]er hashes what has come of a blob while the rest comes, and the [`Store`] takes it in. BuildKit
//! takes a file that lies in its store as it is, so that it asks no registry for it.
//!
//! **Invariant:** a blob is in the store whole, verified and on disk, or not at all: BuildKit itself compares no more than its
//! size, and one that is wrong stays until somebody prunes. What cannot be had is left to BuildKit, and said.

mod coming;
mod follow;
mod lazy;
mod plan;
mod run;
mod store;
mod trouble;

pub(crate) use lazy::{LazyBlob, lazy, stores};
pub(crate) use plan::{Blob, Place};
pub(crate) use run::{Fetched, Limits, fetch};
pub(crate) use store::Store;
