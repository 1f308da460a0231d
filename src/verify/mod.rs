//! Is it warm? Read from disk, and asked of BuildKit itself.

mod ahead;
mod eras;
mod on_disk;
mod prove;

pub(crate) use ahead::{Ahead, Outlook, look_ahead};
pub(crate) use eras::{Again, unpacked_again};
pub(crate) use on_disk::{OnDisk, on_disk};
pub(crate) use prove::{Claim, Doubts, ask_again, next_snapshotter, on_shadow, prove};
