//! What cannot wait until a build ends.

use crate::failure::{Failure, Kind};

/// Why a build is given up midway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// A donor could not be imported: BuildKit would now execute everything.
    ImportFailed {
        /// The donor.
        donor: String,
        /// BuildKit's words.
        error: String,
    },
    /// A step was started.
    StepStarted {
        /// Its name.
        name: String,
    },
    /// A layer is fetched or unpacked.
    LayerMoves {
        /// Its blob.
        blob: String,
    },
}

impl Alarm {
    /// The error it ends a build with.
    pub(super) fn error(self) -> anyhow::Error {
        match self {
            Alarm::ImportFailed { donor, error } => Failure::new(
                Kind::Environment,
                format!("could not import the cache {donor}: {error}"),
                "check that the cache exists and that the credentials may read it; nothing was run instead",
            ),
            Alarm::StepStarted { name } => Failure::new(
                Kind::NotWarm,
                forbidden(&name),
                "compare the build arguments and the commit with those of the build that made the cache",
            ),
            Alarm::LayerMoves { blob } => Failure::new(
                Kind::NotWarm,
                format!("the builder has to fetch or unpack the layer {blob}"),
                "warm it first: `cachewarm warm` with the same builder",
            ),
        }
    }
}

/// Says that a step was missed that must not run.
pub(crate) fn forbidden(name: &str) -> String {
    format!("no cache has `{name}`, and --on-miss fail forbids to run it")
}
