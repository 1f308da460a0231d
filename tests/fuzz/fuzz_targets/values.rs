//! Any bytes as each value and file that stands alone: varints, fields, links, results, configurations, filters.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachewarm_fuzz::values(bytes));
