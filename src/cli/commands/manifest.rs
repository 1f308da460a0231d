//! `cachewarm manifest show` and `cachewarm explain`: what manifests say, alone and held against each other.

use std::path::Path;

use crate::cli::args::ManifestFormat;
use crate::cli::output;
use crate::explain;
use crate::failure::Kind;
use crate::manifest::Manifest;
use crate::report;

/// Writes a manifest to standard output.
///
/// # Errors
/// When it cannot be read, or standard output cannot be written.
pub(crate) fn show(file: &Path, format: ManifestFormat) -> anyhow::Result<()> {
    let manifest = Manifest::read(file)?;
    output::data(&match format {
        ManifestFormat::Text => report::manifest_text(&manifest),
        ManifestFormat::Json => serde_json::to_string_pretty(&manifest)? + "\n",
    })
}

/// Writes what differs between two builds to standard output. Gives the exit code: 0 when nothing does.
///
/// # Errors
/// When a manifest cannot be read, or standard output cannot be written.
pub(crate) fn explain(old: &Path, new: &Path, format: ManifestFormat) -> anyhow::Result<u8> {
    let explanation = explain::builds(old, new)?;
    output::data(&match format {
        ManifestFormat::Text => report::explanation_text(&explanation),
        ManifestFormat::Json => serde_json::to_string_pretty(&explanation)? + "\n",
    })?;
    Ok(if explanation.same { 0 } else { Kind::NotWarm.exit_code() })
}
