//! What every report has in common, for the formats that show no more than that.

use super::{Builder, Donor, Head, Layers, Phase, Source, Step, Transfer};

/// The common part of a report.
#[derive(Debug)]
pub(crate) struct Facts<'r> {
    /// What it begins with.
    pub(crate) head: &'r Head,
    /// What was built from, if anything was.
    pub(crate) source: Option<&'r Source>,
    /// What it was built with, or the state root that was read.
    pub(crate) builder: &'r Builder,
    /// The caches, where they were looked at.
    pub(crate) donors: &'r [Donor],
    /// Per step; none where no build was looked at.
    pub(crate) steps: &'r [Step],
    /// What lies on disk, if it could be read.
    pub(crate) layers: Option<&'r Layers>,
    /// What went over the network.
    pub(crate) transfer: &'r Transfer,
    /// How long each phase took.
    pub(crate) phases: &'r [Phase],
    /// Hits among the steps, 0 to 1.
    pub(crate) hit_rate: Option<f64>,
}
