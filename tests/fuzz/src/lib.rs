//! The reader of state roots, taken from cachewarm's own sources, with a door for the fuzzer.

#![allow(dead_code, reason = "a fuzz target uses a part of what it includes")]

#[path = "../../../src/digest.rs"]
mod digest;
#[path = "../../../src/failure.rs"]
mod failure;
#[path = "../../../src/units.rs"]
mod units;

#[path = "../../../src/inspect/mod.rs"]
mod inspect;

pub use inspect::fuzz::{database, values};
