//! What the first garbage collection would take away, why, and which setting keeps it, in words.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::holders::Place;
use crate::buildkit;
use crate::failure::{Explain, Kind};
use crate::inspect::StateRoot;
use crate::inspect::gc::{Disk, Forecast, Limit, Policy, forecast};
use crate::report;
use crate::report::words::bytes;

/// The forecasts of all workers, and what they were made from.
#[derive(Debug)]
pub(super) struct Collection {
    policy: Policy,
    config: Option<PathBuf>,
    disk: Disk,
    forecasts: Vec<Forecast>,
}

/// Forecasts for the disk the root lies on.
///
/// # Errors
/// Explained: when the configuration cannot be used, or the kernel does not say how full the disk is.
pub(super) fn collection(root: &Path, config: Option<&Path>, state: &StateRoot) -> anyhow::Result<Collection> {
    let disk = Disk::of(root).explain(
        Kind::Environment,
        format!("could not ask how full the disk of {} is", root.display()),
        "look at the disk and the kernel's log",
    )?;
    let config = buildkit::config_of_machine(config).map(Path::to_owned);
    let policy = config.as_deref().map_or_else(|| Ok(Policy::default_on(disk)), |path| Policy::of_file(path, disk))?;
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let forecasts = state.workers.iter().map(|worker| forecast(worker, &policy, disk, now)).collect();
    Ok(Collection { policy, config, disk, forecasts })
}

impl Collection {
    /// The records that would go: the worker's place in the root, and the id.
    pub(super) fn evicted(&self) -> HashSet<Place<'_>> {
        let each = self.forecasts.iter().enumerate();
        each.flat_map(|(at, all)| all.evicted.iter().map(move |one| (at, one.record.as_str()))).collect()
    }

    /// The rows of the report; `is_layer` says what is one.
    pub(super) fn report(&self, is_layer: impl Fn(usize, &str) -> bool) -> report::check::Gc {
        let evictions =
            || self.forecasts.iter().enumerate().flat_map(|(at, all)| all.evicted.iter().map(move |one| (at, one)));
        // The rule that takes most explains it best.
        let mut taken = vec![0u64; self.policy.rules.len()];
        evictions().for_each(|(_, eviction)| taken[eviction.rule] += eviction.bytes.max(1));
        let rule = (0..taken.len()).filter(|rule| taken[*rule] > 0).max_by_key(|rule| taken[*rule]);
        let total = self.forecasts.iter().map(|forecast| forecast.total).sum();
        report::check::Gc {
            enabled: !self.policy.rules.is_empty(),
            config: self.config.as_ref().map(|config| config.display().to_string()),
            disk_bytes: self.disk.total,
            disk_free_bytes: self.disk.free,
            total_bytes: total,
            evicted_bytes: self.forecasts.iter().map(Forecast::bytes).sum(),
            evicted_layers: evictions().filter(|(worker, eviction)| is_layer(*worker, &eviction.record)).count(),
            evicted: evictions().map(|(_, eviction)| eviction.record.clone()).collect(),
            limit: rule.map(|rule| self.limit(rule, total)),
            advice: rule.map(|rule| self.advice(rule, total)),
        }
    }

    fn limit(&self, number: usize, total: u64) -> String {
        let rule = &self.policy.rules[number];
        let mut words = match rule.limit(total, self.disk) {
            Limit::MaxUsed => format!("maxUsedSpace is {}, and the cache takes {}", bytes(rule.max_used), bytes(total)),
            Limit::MinFree => {
                format!("minFreeSpace is {}, and {} of the disk are free", bytes(rule.min_free), bytes(self.disk.free))
            }
            Limit::Reserved => format!("reservedSpace is {}, and there is no other limit", bytes(rule.reserved)),
            Limit::None => "a rule without a limit takes all it is about".to_owned(),
        };
        if !rule.keep_duration.is_zero() {
            words.push_str(&format!("; unused for {} hours", rule.keep_duration.as_secs() / 3600));
        }
        format!("{words} (rule {})", number + 1)
    }

    /// No rule takes the cache below its `reservedSpace`, so one that holds all of it keeps all of it.
    fn advice(&self, number: usize, total: u64) -> String {
        let enough = (total >> 30) + 1;
        let rule = &self.policy.rules[number];
        match (self.policy.is_default, rule.filters.is_empty()) {
            (true, true) => format!(
                "set reservedSpace = \"{enough}GB\" in [worker.oci] of buildkitd.toml, and maxUsedSpace to what the cache may \
                 grow to"
            ),
            (true, false) => {
                "nothing, if they may be made again; else write gcpolicy rules of your own without this one".to_owned()
            }
            (false, _) if rule.limit(total, self.disk) == Limit::None => {
                format!("raise keepDuration in gcpolicy rule {}, or give it a reservedSpace", number + 1)
            }
            (false, _) => format!("set reservedSpace = \"{enough}GB\" in gcpolicy rule {}", number + 1),
        }
    }
}
