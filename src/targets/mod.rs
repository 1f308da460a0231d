//! What to build: the exact builds CI would make, from flags or from `docker buildx bake --print`.
//!
//! Pure: it reads no file and asks no network; whoever calls it hands over text. `build` says what a build is, `flags`
//! and `bake` read docker's spellings of it, `attributes` says it to BuildKit, `dockerfile` looks for what to warn about.

mod attributes;
mod bake;
mod bake_fields;
mod bake_open;
mod build;
mod dockerfile;
mod dockerfile_words;
pub(crate) mod flags;

pub(crate) use attributes::{attributes, directories, entitlements};
pub(crate) use bake::bake_targets;
pub(crate) use bake_open::left_to_buildx;
pub(crate) use build::{
    Context, Dockerfile, Donor, DonorKind, NamedContext, Policy, SecretOrigin, SecretSource, SshAgent, Target,
};
pub(crate) use dockerfile::scan;
