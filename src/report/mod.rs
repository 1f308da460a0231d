//! Say so: the report of a run, as data; and how it is written.
//!
//! Field names are a contract (`schema: 1`): add, never rename.

pub(crate) mod assemble;
pub(crate) mod check;
mod clock;
pub(crate) mod eras;
pub(crate) mod explanation;
mod facts;
mod json;
mod markdown;
mod prometheus;
mod proof;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod sample_check;
#[cfg(test)]
mod schemas;
pub(crate) mod seal;
mod source;
mod text;
mod transfer;
mod verdict;
pub(crate) mod words;

pub(crate) use clock::Clock;
pub(crate) use facts::Facts;
pub(crate) use json::json;
pub(crate) use markdown::markdown;
pub(crate) use prometheus::prometheus;
pub(crate) use proof::{Proof, Prover};
pub(crate) use source::Source;
pub(crate) use text::{explanation as explanation_text, manifest as manifest_text};
pub(crate) use transfer::{Fetching, Transfer, TransferSource};
pub(crate) use verdict::Verdict;

use serde::Serialize;

pub(crate) use crate::inspect::Tally as Layers;

use crate::registry::Probe;

/// The contract's version.
pub(crate) const SCHEMA: u32 = 1;

/// The report of any command.
pub(crate) trait Reported: Serialize {
    /// What it begins with.
    fn head(&self) -> &Head;

    /// The report as lines of text.
    fn text(&self) -> String;

    /// What it has in common with all others.
    fn facts(&self) -> Facts<'_>;
}

impl Reported for Report {
    fn head(&self) -> &Head {
        &self.head
    }

    fn text(&self) -> String {
        text::warm(self)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            head: &self.head,
            source: Some(&self.source),
            builder: &self.builder,
            donors: &self.donors,
            steps: &self.steps,
            layers: self.layers.as_ref(),
            transfer: &self.transfer,
            phases: &self.phases,
            hit_rate: Some(self.hit_rate),
        }
    }
}

/// What every report begins with.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Head {
    /// The version of the format: 1.
    pub(crate) schema: u32,
    /// The command: `warm`, `smoke`, `check` or `seal`.
    pub(crate) command: &'static str,
    /// cachewarm's version.
    pub(crate) version: &'static str,
    /// The commit it was built from, that commit's date, and what it was built for.
    pub(crate) build: &'static str,
    /// Is it warm, or is it sealed?
    pub(crate) verdict: Verdict,
    /// Why not, most important first; empty when it is.
    pub(crate) reasons: Vec<String>,
    /// What a person should know all the same.
    pub(crate) notes: Vec<String>,
}

impl Head {
    /// Of a command's report.
    pub(crate) fn new(command: &'static str, verdict: Verdict, reasons: Vec<String>, notes: Vec<String>) -> Head {
        let (version, build) = (env!("CARGO_PKG_VERSION"), env!("CACHEWARM_BUILD"));
        Head { schema: SCHEMA, command, version, build, verdict, reasons, notes }
    }
}

/// What a warm run found and did.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) head: Head,
    /// What was built from.
    pub(crate) source: Source,
    /// What it was built with.
    pub(crate) builder: Builder,
    /// The caches it was imported from.
    pub(crate) donors: Vec<Donor>,
    /// What every build, also a fully cached one, asks the network for: names of images at their registries, files and git
    /// repositories that no checksum or commit names.
    pub(crate) resolved_by_every_build: Vec<String>,
    /// Per target.
    pub(crate) targets: Vec<TargetSummary>,
    /// Per step, in the order of their first mention.
    pub(crate) steps: Vec<Step>,
    /// What lies on disk; absent when the state root could not be read.
    pub(crate) layers: Option<Layers>,
    /// The layers of `# syntax=` frontends, which run as containers in every build; absent like `layers`.
    pub(crate) frontends: Option<Layers>,
    /// What went over the network.
    pub(crate) transfer: Transfer,
    /// Whether BuildKit itself confirmed it; absent when it was not asked.
    pub(crate) proof: Option<Proof>,
    /// How long each phase took.
    pub(crate) phases: Vec<Phase>,
    /// Hits among the steps, 0 to 1; 1 when there is no step.
    pub(crate) hit_rate: f64,
}

/// What it was built with.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Builder {
    /// `unix`, `tcp`, `spawn`, `docker-container`, `docker`, `ssh`, `podman-container`, `nerdctl-container` or `kube-pod`.
    pub(crate) kind: String,
    /// Its address.
    pub(crate) address: String,
    /// What BuildKit says of itself.
    pub(crate) buildkit_version: String,
    /// The state root that was read, or would have been; absent when it is out of reach.
    pub(crate) state_root: Option<String>,
}

/// A cache a build imports from.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Donor {
    /// Its canonical reference.
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    /// The digest of its manifest.
    pub(crate) digest: Option<String>,
    /// Whether BuildKit can import it.
    pub(crate) usable: bool,
    /// How many layers it has.
    pub(crate) layers: usize,
    /// Their compressed bytes.
    pub(crate) bytes: u64,
    /// What is wrong with it.
    pub(crate) problem: Option<String>,
}

impl Donor {
    /// The row of a donor that was looked at.
    pub(crate) fn of(probe: &Probe) -> Donor {
        Donor {
            reference: probe.reference.clone(),
            digest: probe.digest.clone(),
            usable: probe.usable(),
            layers: probe.layers().len(),
            bytes: probe.bytes(),
            problem: probe.problem.as_ref().map(|problem| problem.what.clone()),
        }
    }
}

/// One target.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct TargetSummary {
    /// Its name.
    pub(crate) name: String,
    /// The stage it builds.
    pub(crate) stage: Option<String>,
    /// Steps in its graph.
    pub(crate) steps: usize,
    /// Steps whose result a cache had.
    pub(crate) hits: usize,
    /// Steps that were executed.
    pub(crate) ran: usize,
    /// Per stage, in the order of their first mention.
    pub(crate) stages: Vec<StageSummary>,
}

/// One stage of a target.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StageSummary {
    /// Its name as BuildKit shows it.
    pub(crate) name: String,
    /// Steps.
    pub(crate) steps: usize,
    /// Steps whose result a cache had.
    pub(crate) hits: usize,
    /// Steps that were executed.
    pub(crate) ran: usize,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StepState {
    /// A cache had its result.
    Hit,
    /// It was executed.
    Ran,
    /// No cache had its result, and it was not executed.
    Miss,
    /// Nobody asked, or it lies below a miss.
    Unknown,
}

impl StepState {
    /// As machines and tables have it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            StepState::Hit => "hit",
            StepState::Ran => "ran",
            StepState::Miss => "miss",
            StepState::Unknown => "unknown",
        }
    }
}

/// One step.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Step {
    /// The LLB vertex digest.
    pub(crate) digest: String,
    /// As BuildKit shows it: `[build 2/4] RUN make`.
    pub(crate) name: String,
    /// The stage, when the name tells.
    pub(crate) stage: Option<String>,
    /// The targets whose graph has it.
    pub(crate) targets: Vec<String>,
    /// What became of it.
    pub(crate) state: StepState,
    /// Why it is not a hit.
    pub(crate) reason: Option<Reason>,
}

/// Why a step is not a hit.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Reason {
    /// A word for machines.
    pub(crate) kind: String,
    /// One sentence.
    pub(crate) what: String,
    /// More of it: the log tail of a step that failed, say.
    pub(crate) detail: Option<String>,
    /// What to do.
    pub(crate) remedy: Option<String>,
}

/// How long a phase took.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Phase {
    /// Its name.
    pub(crate) name: String,
    /// Wall time.
    pub(crate) seconds: f64,
}
