//! One file per command.

mod check;
mod documents;
mod manifest;
mod seal;
mod smoke;
mod warm;

pub(super) use check::check;
pub(super) use documents::{completions, man};
pub(super) use manifest::{explain, show};
pub(super) use seal::seal;
pub(super) use smoke::smoke;
pub(super) use warm::warm;
