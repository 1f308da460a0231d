//! What BuildKit itself confirmed, or did not.

use serde::Serialize;

use super::assemble::NAMED;
use crate::verify::Doubts;

/// BuildKit built again, without cache sources.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Proof {
    /// Where: a daemon that was started for it, or the builder itself, which says nothing of a restart.
    pub(crate) on: Prover,
    /// Results it was asked for.
    pub(crate) results: usize,
    /// What it had to do.
    #[serde(flatten)]
    pub(crate) doubts: Doubts,
}

/// Who built again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Prover {
    /// A daemon that was started on a shadow of the state root.
    #[default]
    Shadow,
    /// The builder.
    Builder,
}

impl Prover {
    /// As a person reads it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Prover::Shadow => "a build on a shadow of the state root",
            Prover::Builder => "another build without cache sources",
        }
    }
}

impl Proof {
    /// Of so many results that BuildKit was asked for, what was doubtful.
    pub(crate) fn of(doubts: Doubts, results: usize) -> Proof {
        let on = if doubts.is_of_itself { Prover::Builder } else { Prover::Shadow };
        Proof { on, results, doubts }
    }

    /// Why it is none; empty when BuildKit fetched, unpacked and ran nothing.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let build = self.on.words();
        let Doubts { ran, fetched, extracted, errors, .. } = &self.doubts;
        let said = [("run", ran), ("fetch", fetched), ("unpack", extracted)];
        let had_to = said.iter().filter(|(_, list)| !list.is_empty()).map(|(verb, list)| {
            let shown = list[..list.len().min(NAMED)].join(", ");
            format!("{build} had to {verb} {}: {shown}", list.len())
        });
        had_to.chain(errors.iter().map(|error| format!("{build} failed: {error}"))).collect()
    }

    /// Whether the builder's own word is all there is, and it has everything.
    pub(crate) fn is_the_builders_word(&self) -> bool {
        self.on == Prover::Builder && self.doubts.is_empty()
    }
}
