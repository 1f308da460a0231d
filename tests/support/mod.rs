//! The words the behavior tests are written in: a [`World`] of its own for each test, and real parts in it.
//!
//! Every part runs on a loopback port or a socket and folder of its own, is waited for, and is stopped by its
//! process id. Whatever a test forgets, or a panic leaves, ends with the world; whatever a killed test process
//! leaves, ends with that process: daemons by `PR_SET_PDEATHSIG`, files and mounts by the janitor.

pub(crate) mod authority;
pub(crate) mod builder;
pub(crate) mod calls;
pub(crate) mod cut;
pub(crate) mod docker;
pub(crate) mod ecr;
pub(crate) mod faults;
pub(crate) mod git;
pub(crate) mod ground;
pub(crate) mod judge;
pub(crate) mod led;
pub(crate) mod podman;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod run;
pub(crate) mod sshd;
pub(crate) mod world;

pub(crate) use authority::Authority;
pub(crate) use builder::Builder;
pub(crate) use calls::donor;
pub(crate) use docker::Docker;
pub(crate) use ecr::Ecr;
pub(crate) use faults::{Fault, Faults};
pub(crate) use git::GitServer;
pub(crate) use ground::ground;
pub(crate) use process::wait_until;
pub(crate) use registry::Registry;
pub(crate) use run::Run;
pub(crate) use sshd::Sshd;
pub(crate) use world::World;
