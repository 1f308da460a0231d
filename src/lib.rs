//! cachewarm makes a BuildKit state root warm from a registry cache, and proves it.
//!
//! | word | means |
//! |---|---|
//! | state root | the directory in which a buildkitd keeps everything, `/var/lib/buildkit` unless told otherwise |
//! | worker | the part of a state root that belongs to one snapshotter: `runc-overlayfs` |
//! | record | BuildKit's entry for a result or a layer of one, in `metadata_v2.db` |
//! | layer | what one step adds: a compressed blob, and the same unpacked in a snapshot |
//! | extracted | of a layer: it lies unpacked on disk, and a build can use it as it is |
//! | vertex | an operation of a build's graph (LLB), known by its digest; the status stream tells of vertices |
//! | step | a vertex that a line of a Dockerfile made |
//! | cache source | a cache that layers come from, in a registry or a directory, `--cache-from`; "donor" in the reports' JSON |
//! | result | what a vertex yields; a cache key in `cache.db` leads to its record |
//! | hit, ran | of a step: its result was found, or had to be made |
//! | frontend | what makes a graph of a Dockerfile: built into BuildKit, or the image of a `# syntax=` line |
//! | session | what a builder calls us back on: files, logins, secrets, ssh agents |
//! | warm | every layer of every stage that a build reaches is extracted and survives a restart |
//! | proof | BuildKit builds again without cache sources, and fetches, unpacks and runs nothing |
//! | shadow root | a copy of a state root's databases with links to its layers, for a daemon that must not change it |
//! | manifest | what a warm run writes about its build: what makes each step's cache key, every file, every layer |
//! | legacy | of a layer: it, or one that it stands on, has a name that BuildKit v0.33.1 and later do not find by a blob |
//! | era | what one range of BuildKit's versions names, keys, keeps and drops |
//! | sealed | of a machine: safe to snapshot |
//!
//! The order of the groups below is the order of dependency, and very nearly the way of the data:
//! from a build specification to a verdict. A module uses only groups above its own, never a module
//! of its own group; `tests/behavior/layers.rs` holds that.

// What an error owes its reader, when to try again, what a step tells its listeners, how sizes, digests and our own
// documents are written, what is compressed, how files are reached below a directory and read that others wrote, where
// something is mounted, which programs are started, what nobody can guess, what each BuildKit does, and which names,
// values and parts of files are secrets.
mod beneath;
mod child;
mod compression;
mod digest;
mod document;
mod era;
mod event;
mod failure;
mod foreign;
mod mounts;
mod random;
mod retry;
mod sensitive;
mod units;

// Who ended the run, who holds a lock, and directories that no run outlives.
mod cancel;
mod locks;
mod scratch;

// What is not to be written down.
mod redact;

// Who we are.
mod auth;

// What to build, and the exact commit of it.
mod targets;

mod source;

// Donors: caches in registries and directories, and their manifests. `error` is what a registry answered, `problem` what a
// person is to do about it.
mod registry;

// A running builder, and what we have it do.
mod buildkit;

// What a run will ask of a builder, decided before it is asked.
mod plan;

// What lies on disk, and a throw-away copy of it to ask questions of.
mod inspect;

mod shadow;

// Layers, brought into a builder's own store.
mod fetch;

// Is it warm? And what a warm run promised.
mod verify;

mod manifest;

// Say so.
mod report;

// And why: `difference` finds what differs between two builds, `words` says it.
mod explain;

// The pipelines, each on one page.
mod check;
mod smoke;
mod warm;

// Is it safe to snapshot?
mod seal;

// argv, environment, terminal, exit code. Every flag, variable and key is a row of `table`; `commands` fill the jobs.
mod cli;

pub use cli::run;
