//! One file per command.

mod check;
mod documents;
mod warm;

pub(super) use check::check;
pub(super) use documents::{completions, man};
pub(super) use warm::warm;
