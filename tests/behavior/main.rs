//! What cachewarm does, as a person sees it: one chapter a file, each against the real parts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../support/mod.rs"]
mod support;

// The main job, and BuildKit's own word for it.
mod warm;

// A verdict needs evidence.
mod evidence;

// What is built from, and where its cache comes from.
mod context;
mod donors;
mod donors_local;
mod ecr;
mod fetching;
mod fetching_faults;
mod linked;
mod remote;
mod source;
mod ssh;

// What buildx takes into a build beside the flags.
mod bake;
mod line;
mod policies;
mod surroundings;

// What it is built with.
mod builders;
mod choice;
mod conformance;
mod devbox;
mod docker;
mod registries;
mod tcp;

// Which BuildKit wrote a root, and which one uses it.
mod eras;

// Is this build warm here, before it runs?
mod ci;
mod clones;
mod explain;
mod manifests;
mod smoke;

// What lies in a root, without a daemon.
mod check;
mod check_damage;
mod check_gc;

// Is the machine safe to snapshot?
mod seal;
mod seal_machine;

// Whenever it is interrupted, nothing outlives the next run.
mod interrupted;

// What the kernel does not let us see is never a yes.
mod odd_roots;
mod unseen;

// What a person is told, and what nobody is.
mod canaries;
mod errors;
mod keyed;
mod patience;
mod secrets;

// What a checkout cannot make us do.
mod trust;

// The shape of the source.
mod dependencies;
mod layers;

// What a newer BuildKit or buildx has that we do not know.
mod tripwire;
