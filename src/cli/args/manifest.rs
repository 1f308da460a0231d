//! What `manifest`, `explain` and `schema` are told.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum, ValueHint};

use crate::manifest::USUAL;

/// What to do with a manifest.
#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// Write it to standard output: what was warmed, what makes each step, which files were read.
    Show {
        /// The manifest.
        #[arg(default_value = USUAL, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// How it is written.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        report: ManifestFormat,
    },
}

/// How manifests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What has a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    #[value(aliases = ["warm", "smoke"])]
    Report,
    Check,
    Seal,
    Explain,
    Manifest,
}
