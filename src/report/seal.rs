//! The report of `seal`: is the machine safe to snapshot?

use serde::Serialize;

use super::{Builder, Facts, Head, Layers, Phase, Reported, Transfer, text};

/// What became of a seal.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SealReport {
    #[serde(flatten)]
    pub(crate) head: Head,
    /// No builder was asked; the state root that was read.
    pub(crate) builder: Builder,
    /// All layers, those of frontends apart; absent when the root could not be read.
    pub(crate) layers: Option<Layers>,
    /// Always nothing.
    pub(crate) transfer: Transfer,
    /// How long each phase took.
    pub(crate) phases: Vec<Phase>,
    /// Of the warm run whose manifest it was held against.
    pub(crate) hit_rate: Option<f64>,
    /// Whether things were cleaned.
    pub(crate) fix: bool,
    /// What was found that an image must not have.
    pub(crate) findings: Vec<Finding>,
    /// What was looked through for secrets.
    pub(crate) searched: Searched,
    /// Where the marker was written; absent when it was not.
    pub(crate) marker: Option<String>,
}

/// Something that an image must not have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Finding {
    /// What kind of thing it is.
    pub(crate) kind: FindingKind,
    /// Where it is: a file, or a record of BuildKit.
    pub(crate) place: String,
    /// What it is; never what a secret reads.
    pub(crate) what: String,
    /// Whether it was cleaned.
    pub(crate) cleaned: bool,
    /// What to do about it, when it is there.
    pub(crate) remedy: Option<String>,
}

/// A kind of thing that an image must not have; the order is that of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FindingKind {
    /// A secret that was named, or something of a secret's shape.
    Secret,
    /// A file that could not be looked through.
    Unread,
    /// A login of somebody, or a token by its shape.
    Machine,
    /// The history of builds.
    History,
    /// BuildKit's copy of a build's directory.
    LocalSource,
    /// What a `RUN --mount=type=cache` keeps.
    CacheMount,
    /// What interrupted work left behind.
    Leftover,
    /// Bytes of earlier content where a database is not used.
    StaleBytes,
}

impl FindingKind {
    /// Every kind.
    pub(crate) const ALL: [FindingKind; 8] = [
        FindingKind::Secret,
        FindingKind::Unread,
        FindingKind::Machine,
        FindingKind::History,
        FindingKind::LocalSource,
        FindingKind::CacheMount,
        FindingKind::Leftover,
        FindingKind::StaleBytes,
    ];

    /// As a person reads it: one, and several.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            FindingKind::Secret => ("secret", "secrets"),
            FindingKind::Unread => ("file that could not be read", "files that could not be read"),
            FindingKind::Machine => ("login or token", "logins and tokens"),
            FindingKind::History => ("history of builds", "histories of builds"),
            FindingKind::LocalSource => ("copy of a build's directory", "copies of builds' directories"),
            FindingKind::CacheMount => ("cache mount", "cache mounts"),
            FindingKind::Leftover => ("leftover of interrupted work", "leftovers of interrupted work"),
            FindingKind::StaleBytes => ("database with stale bytes", "databases with stale bytes"),
        }
    }
}

/// What was looked through for secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Searched {
    /// Files.
    pub(crate) files: u64,
    /// Their bytes on disk.
    pub(crate) bytes: u64,
    /// The names of the secrets that were looked for, in every spelling.
    pub(crate) secrets: Vec<String>,
}

impl Reported for SealReport {
    fn head(&self) -> &Head {
        &self.head
    }

    fn text(&self) -> String {
        text::seal(self)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            head: &self.head,
            source: None,
            builder: &self.builder,
            donors: &[],
            steps: &[],
            layers: self.layers.as_ref(),
            transfer: &self.transfer,
            phases: &self.phases,
            // It is another run's.
            hit_rate: None,
        }
    }
}
