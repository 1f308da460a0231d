//! cachewarm makes a BuildKit state root warm from a registry cache, and proves it.
//!
//! The order of the groups below is the order of dependency, and very nearly the way of the data:
//! from a build specification to a verdict. A module uses only groups above its own, never a module
//! of its own group; `tests/behavior/layers.rs` holds that.

// What an error owes its reader, when to try again, what a step tells its listeners, how sizes, digests and our own
// documents are written, what is compressed, how files are reached below a directory and read that others wrote, where
// something is mounted, which programs are started, and which names, values and parts of files are secrets.
mod beneath;
mod child;
mod compression;
mod digest;
mod document;
mod event;
mod failure;
mod foreign;
mod mounts;
mod retry;
mod sensitive;
mod units;

// Who holds a lock, and directories that no run outlives.
mod locks;
mod scratch;

// What is not to be written down.
mod veil;

// Who we are.
mod auth;

// What to build, and the exact commit of it.
mod targets;

mod source;

// Donors: registry caches and their manifests.
mod registry;

// A running builder, and what we have it do.
mod buildkit;

// What a run will ask of a builder, decided before it is asked.
mod plan;

// What lies on disk, and a throw-away copy of it to ask questions of.
mod inspect;

mod shadow;

// Is it warm? And what a warm run promised.
mod verify;

mod manifest;

// Say so.
mod report;

mod rows;

// And why.
mod explain;

// The pipelines, each on one page.
mod check;
mod smoke;
mod warm;

// Is it safe to snapshot?
mod seal;

// argv, environment, terminal, exit code.
mod cli;

pub use cli::run;
