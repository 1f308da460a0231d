//! Is it warm, is it safe? The one word every report ends with.

use serde::Serialize;

/// Is it warm? Or, of `seal`, is it safe to snapshot?
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
    /// Safe to snapshot.
    Sealed,
    /// Not safe to snapshot; the reasons say why.
    NotSealed,
}

impl Verdict {
    /// Those that a command may end with.
    pub(crate) fn of_command(command: &str) -> &'static [Verdict] {
        match command {
            "seal" => &[Verdict::Sealed, Verdict::NotSealed],
            _ => &[Verdict::Warm, Verdict::NotWarm, Verdict::NotVerified],
        }
    }

    /// Whether it is what was hoped for.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Verdict::Warm | Verdict::Sealed)
    }

    /// As a person reads it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Verdict::Warm => "warm",
            Verdict::NotWarm => "not warm",
            Verdict::NotVerified => "not verified on disk",
            Verdict::Sealed => "sealed",
            Verdict::NotSealed => "not sealed",
        }
    }

    /// As machines read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Warm => "warm",
            Verdict::NotWarm => "not-warm",
            Verdict::NotVerified => "not-verified",
            Verdict::Sealed => "sealed",
            Verdict::NotSealed => "not-sealed",
        }
    }
}
