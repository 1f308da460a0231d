//! The donors of a run, looked at before anything is solved: BuildKit would go on without one, and run everything.

use std::collections::HashMap;

use anyhow::Context;

use super::Job;
use crate::buildkit::{self, Import};
use crate::event::Events;
use crate::plan::Plan;
use crate::registry::{self, Client, Probe, ProblemKind, Reference, Repository};
use crate::report;
use crate::targets::{Donor, DonorKind, Target};

/// Donors that were looked at, in the order in which targets name them.
pub(super) struct Donors {
    /// It knows the logins by now.
    pub(super) client: Client,
    probes: Vec<Probe>,
    /// Of those in registries: whether BuildKit is to trust them whatever they answer with.
    insecure: Vec<Option<bool>>,
    by_given_name: HashMap<String, usize>,
}

impl Donors {
    /// The caches that a target's steps may be found in, as BuildKit is told of them.
    pub(super) fn imports(&self, target: &Target) -> Vec<Import> {
        let import = |donor: &Donor| {
            let probe = &self.probes[*self.by_given_name.get(&donor.reference)?];
            let mut attributes: HashMap<String, String> = donor.attributes.clone().into_iter().collect();
            let kind = match donor.kind {
                DonorKind::Registry => {
                    attributes.insert("ref".to_owned(), probe.reference.clone());
                    "registry"
                }
                DonorKind::Local => {
                    attributes.insert("src".to_owned(), probe.reference.clone());
                    attributes.extend(probe.digest.clone().map(|digest| ("digest".to_owned(), digest)));
                    "local"
                }
            };
            probe.usable().then_some(Import { kind, attributes })
        };
        target.donors.iter().filter_map(import).collect()
    }

    /// The references of the donors, with the digests of their layers.
    pub(super) fn layers(&self) -> Vec<(String, Vec<String>)> {
        let layers = |probe: &Probe| probe.layers().into_iter().map(|layer| layer.digest.clone()).collect();
        self.probes.iter().map(|probe| (probe.reference.clone(), layers(probe))).collect()
    }

    /// The repositories in registries that have a layer, and its bytes as their manifests have them.
    pub(super) fn holding(&self, digest: &str) -> (Vec<Repository>, Option<u64>) {
        let (mut repositories, mut size) = (Vec::new(), None);
        for (probe, insecure) in self.probes.iter().zip(&self.insecure).filter(|(probe, _)| probe.usable()) {
            let Some(insecure) = insecure else { continue };
            let layer = probe.layers().into_iter().find(|layer| layer.digest == digest && !layer.foreign);
            if let (Some(layer), Ok(reference)) = (layer, Reference::parse(&probe.reference)) {
                repositories.push(self.client.repository(&reference, *insecure));
                size = size.or(Some(layer.size));
            }
        }
        (repositories, size)
    }

    /// The rows of the report.
    pub(super) fn rows(&self) -> Vec<report::Donor> {
        self.probes.iter().map(report::Donor::of).collect()
    }
}

/// Looks at every donor of every target.
///
/// # Errors
/// Explained: a donor that cannot be used, unless another one can and it is only absent, or donors are optional.
pub(super) async fn probe(job: &Job, plan: &Plan, events: &Events) -> anyhow::Result<Donors> {
    let mut wanted: Vec<&Donor> = Vec::new();
    for donor in plan.targets.iter().flat_map(|target| &target.donors) {
        if !wanted.iter().any(|known| known.reference == donor.reference) {
            wanted.push(donor);
        }
    }
    let references: Vec<_> = wanted.iter().filter_map(|donor| Reference::parse(&donor.reference).ok()).collect();
    let hosts: Vec<&str> = references.iter().map(Reference::host).collect();
    let client = Client::new(buildkit::registries(&job.builder, &hosts).await?, job.keychain.clone());
    let probes = registry::probe_all(&client, wanted.iter().copied()).await;
    let another = probes.iter().any(Probe::usable);
    for probe in &probes {
        match &probe.problem {
            None => events.note(format!("cache {}: {} layers", probe.reference, probe.layers().len())),
            // BuildKit passes over it as well, and a branch's own cache is there once its first build is done.
            Some(problem) if job.cache_optional || (another && problem.kind == ProblemKind::NotFound) => {
                events.warn(format!("passed over the cache {}: {}", probe.reference, problem.what));
            }
            Some(problem) if another => return Err(problem.failure_beside_others(&probe.reference)),
            Some(problem) => return Err(problem.failure(&probe.reference)),
        }
    }
    if let (Some(first), false) = (probes.first(), another) {
        let problem = first.problem.as_ref().context("a donor is neither usable nor has a problem")?;
        return Err(problem.failure(&first.reference));
    }
    let by_given_name = wanted.iter().enumerate().map(|(index, donor)| (donor.reference.clone(), index)).collect();
    let in_registry = |donor: &&Donor| (donor.kind == DonorKind::Registry).then(|| donor.is_insecure());
    let insecure = wanted.iter().map(in_registry).collect();
    Ok(Donors { client, probes, insecure, by_given_name })
}
