//! Is it warm? The one word every report ends with.

use serde::Serialize;

/// Is it warm?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Every step's result is extracted, survives a restart, and needs no registry.
    Warm,
    /// Something is missing; the reasons say what.
    NotWarm,
    /// Nothing is known to be missing, and the state root could not be read.
    NotVerified,
}

impl Verdict {
    /// As a person reads it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Verdict::Warm => "warm",
            Verdict::NotWarm => "not warm",
            Verdict::NotVerified => "not verified on disk",
        }
    }

    /// As machines read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Warm => "warm",
            Verdict::NotWarm => "not-warm",
            Verdict::NotVerified => "not-verified",
        }
    }
}
