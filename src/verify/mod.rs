//! Is it warm? Read from disk, and asked of BuildKit itself.

mod on_disk;
mod prove;

pub(crate) use on_disk::{OnDisk, on_disk};
pub(crate) use prove::{Claim, Doubts, ask_again, prove};
