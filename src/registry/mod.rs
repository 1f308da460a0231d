//! Donors: caches in registries and directories, their manifests, and whether they can be used at all.
//!
//! A [`mod@reference`] names one, [`mod@hosts`] says how its host is reached, [`Client`] asks, and [`probe_all()`]
//! judges: a [`Probe`] has the donor's layers, or the [`problem`] that keeps BuildKit from importing it.
//!
//! A [`Part`] of a layer comes as it is: whether its bytes are right is for whoever has all of them.
//!
//! **Invariant:** reads only, and judges without downloading a layer.

mod cacheconfig;
mod challenge;
mod client;
mod error;
mod exchange;
mod hosts;
mod layer;
mod layout;
mod manifest;
mod part;
mod probe;
mod problem;
mod reference;
mod token;
mod transport;

#[cfg(test)]
mod fake;

pub(crate) use client::{Client, Repository};
pub(crate) use error::RegistryError;
pub(crate) use hosts::{RegistryHosts, is_loopback, mirror_parts, without_port};
#[cfg(test)]
pub(crate) use layer::Layer;
pub(crate) use layer::StackedLayer;
pub(crate) use part::Part;
pub(crate) use probe::{Probe, probe_all};
pub(crate) use problem::ProblemKind;
pub(crate) use reference::Reference;
