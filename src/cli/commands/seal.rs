//! `cachewarm seal`: from settings to a job.

use std::path::PathBuf;

use super::Told;
use crate::buildkit::{ADDRESS_FORMS, Address};
use crate::cli::known;
use crate::cli::settings::values::{PATH, PATH_OR_NONE};
use crate::cli::settings::{self, Origin, Sources};
use crate::manifest;
use crate::redact::Redactor;
use crate::seal::Job;

/// What is sealed, and how.
pub(in crate::cli) fn job(from: &Sources<'_>) -> anyhow::Result<Told<Job>> {
    let builder = from.some("builder")?;
    let buildkitd = match builder.read(ADDRESS_FORMS, str::parse)?.value {
        Address::Spawn(program) => program,
        // Where it is shared with other commands it is about them.
        _ if !matches!(builder.origin, Origin::Flag(_)) => None,
        _ => {
            return Err(builder.refused("no daemon may hold what is sealed", "write spawn or spawn:/PATH/TO/buildkitd"));
        }
    };
    let usual = || Some(PathBuf::from(manifest::USUAL)).filter(|file| file.exists());
    let mut notes = Vec::new();
    let job = Job {
        root: from.always("root", PATH)?,
        manifest: from.read("manifest", PATH_OR_NONE)?.unwrap_or_else(usual),
        fix: from.on("fix")?,
        buildkitd,
        buildkitd_config: from.read("buildkitd-config", PATH)?,
        system: from.always("system", PATH_OR_NONE)?,
        ignored: from.each("ignore", PATH)?,
        drop_cache_mounts: from.always("cache-mounts", ("keep or drop", is_drop))?,
        thresholds: settings::thresholds(from)?,
        marker: from.always("marker", PATH_OR_NONE)?,
        secrets: known::secrets(from, &mut notes)?,
        notes,
    };
    let hidden = Redactor::of_secrets(job.secrets.iter().map(|secret| secret.value.reveal_bytes()));
    Ok(Told { job, hidden, warnings: Vec::new() })
}

fn is_drop(text: &str) -> Result<bool, String> {
    match text {
        "keep" => Ok(false),
        "drop" => Ok(true),
        _ => Err(format!("`{text}` is neither keep nor drop")),
    }
}
