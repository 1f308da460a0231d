//! One file per command.

mod documents;
mod warm;

pub(super) use documents::{completions, man};
pub(super) use warm::warm;
