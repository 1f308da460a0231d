//! What a buildkitd's garbage collection would evict: which rules its configuration makes ([`Policy`]), and what they
//! do to the records ([`forecast()`], as `cache/manager.go` of BuildKit v0.32 does it).
//!
//! The forecast is of the first collection, one second after a start on this disk: records that the start drops are
//! gone already, and nothing is in use.

mod filter;
mod forecast;
mod policy;
#[cfg(test)]
mod tests;

pub(crate) use forecast::{Forecast, forecast};
pub(crate) use policy::{Disk, Limit, Policy};
