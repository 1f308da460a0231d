//! Any bytes as each of a state root's databases: the walk over pages, and every decoder behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachewarm_fuzz::database(bytes));
