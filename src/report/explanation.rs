//! What differs between two builds, as two manifests tell them: the report of `cachewarm explain`.

use serde::Serialize;

use super::{Reason, SCHEMA};

/// Two builds, held against each other.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Explanation {
    /// The version of the format: 1.
    pub(crate) schema: u32,
    /// The command: `explain`.
    pub(crate) command: String,
    /// cachewarm's version.
    pub(crate) version: &'static str,
    /// The commit it was built from, that commit's date, and what it was built for.
    pub(crate) build: &'static str,
    /// The build that a cache was made with.
    pub(crate) old: Side,
    /// The build that would use it.
    pub(crate) new: Side,
    /// Whether no step differs, those aside that every build runs anew.
    pub(crate) same: bool,
    /// The new build's steps, each after those it is made from.
    pub(crate) steps: Vec<ExplainedStep>,
}

/// One of the two builds.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Side {
    /// The manifest's file.
    pub(crate) file: String,
    /// When it was made, in UTC.
    pub(crate) created_at: String,
    /// The repository without credentials, or the directory.
    pub(crate) source: String,
    /// The commit, when it is known.
    pub(crate) commit: Option<String>,
    /// What BuildKit said of itself.
    pub(crate) buildkit_version: String,
}

/// A step of the new build.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ExplainedStep {
    /// The LLB vertex digest.
    pub(crate) digest: String,
    /// As BuildKit shows it.
    pub(crate) name: String,
    /// The targets whose graph has it.
    pub(crate) targets: Vec<String>,
    /// Whether it is what it was.
    pub(crate) state: Sameness,
    /// What differs.
    pub(crate) reason: Option<Reason>,
}

/// Whether a step is what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sameness {
    /// It is, and so is everything it is made from.
    Same,
    /// It is not.
    Differs,
    /// Something it is made from is not; it may be found by its content all the same.
    Below,
    /// Every build runs it anew.
    AlwaysRuns,
}

impl Explanation {
    /// Of the steps.
    pub(crate) fn new(old: Side, new: Side, steps: Vec<ExplainedStep>) -> Explanation {
        Explanation {
            schema: SCHEMA,
            command: "explain".into(),
            version: env!("CARGO_PKG_VERSION"),
            build: env!("CACHEWARM_BUILD"),
            old,
            new,
            same: steps.iter().all(|step| matches!(step.state, Sameness::Same | Sameness::AlwaysRuns)),
            steps,
        }
    }
}
