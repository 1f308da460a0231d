//! Reports for people: calm, aligned, needing no color; the verdict and its reasons come last, where a log ends.
//!
//! Everything that came from elsewhere (names, logs, errors) is cleaned of terminal commands on its way out.

mod check;
mod explanation;
mod manifest;
mod seal;
mod warm;

pub(super) use check::text as check;
pub(crate) use explanation::text as explanation;
pub(crate) use manifest::text as manifest;
pub(super) use seal::text as seal;
pub(super) use warm::text as warm;

use super::words::{bytes, clean, count, phase_name, seconds, short_digest};
use super::{Donor, Layers, Phase, Reason, Verdict};

/// Width of the first column.
const LABEL: usize = 11;
/// Entries of a list that are written out; the JSON report has them all.
const LONGEST_LIST: usize = 30;

/// Lines with a label before the first of them.
#[derive(Default)]
struct Page {
    text: String,
    gap_wanted: bool,
}

impl Page {
    fn section(&mut self, label: &str, lines: impl IntoIterator<Item = String>) {
        let mut label = label;
        for line in lines {
            for part in line.lines() {
                self.block([format!("{label:LABEL$}{}", clean(part))]);
                label = "";
            }
        }
    }

    fn block(&mut self, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            if self.gap_wanted && !self.text.is_empty() {
                self.text.push('\n');
            }
            self.gap_wanted = false;
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    fn gap(&mut self) {
        self.gap_wanted = true;
    }

    /// How every report ends.
    fn verdict(&mut self, verdict: Verdict, reasons: &[String]) {
        let reasons = shortened(reasons.iter().map(|reason| vec![format!("- {reason}")]));
        self.gap();
        self.section("verdict", [verdict.words().to_owned()].into_iter().chain(reasons));
    }
}

fn donor(donor: &Donor) -> String {
    if !donor.usable {
        let problem = donor.problem.as_deref().unwrap_or("for no known reason");
        return format!("{}: not usable: {problem}", donor.reference);
    }
    let mut parts = vec![count(donor.layers, "layer"), bytes(donor.bytes)];
    parts.extend(donor.digest.as_deref().map(short_digest));
    parts.extend(donor.problem.clone());
    format!("{}: {}", donor.reference, parts.join(", "))
}

fn layers(layers: Option<&Layers>) -> Vec<String> {
    let Some(layers) = layers else { return vec!["not read from disk".to_owned()] };
    let mut lines = vec![format!(
        "{} of {} extracted; on disk {} compressed, {} unpacked",
        layers.extracted,
        layers.total,
        bytes(layers.bytes_compressed),
        bytes(layers.bytes_unpacked)
    )];
    let amiss = [
        (layers.blob_only, "blob only: fetched, not unpacked"),
        (layers.lazy, "lazy: not even fetched"),
        (layers.phantom, "phantom: looks unpacked, and the next start of BuildKit drops it"),
        (layers.broken, "broken: the databases promise what is not on disk"),
    ];
    lines.extend(amiss.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")));
    lines
}

/// A step and why it is not what it should be.
fn some_reason(name: &str, reason: Option<&Reason>) -> Vec<String> {
    let mut lines = vec![name.to_owned()];
    if let Some(reason) = reason {
        lines.push(format!("  {}", reason.what));
        lines.extend(detail(reason));
        lines.extend(reason.remedy.iter().map(|remedy| format!("  to do: {remedy}")));
    }
    lines
}

/// What more a reason has to say.
fn detail(reason: &Reason) -> impl Iterator<Item = String> {
    reason.detail.iter().flat_map(|detail| detail.lines()).map(|line| format!("    {line}"))
}

fn time(phases: &[Phase]) -> String {
    let each: Vec<String> =
        phases.iter().map(|phase| format!("{} {}", phase_name(&phase.name), seconds(phase.seconds))).collect();
    if each.is_empty() {
        return "not measured".to_owned();
    }
    let all = phases.iter().map(|phase| phase.seconds).sum();
    format!("{}; {} in all", each.join(", "), seconds(all))
}

fn shortened(entries: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let entries: Vec<Vec<String>> = entries.collect();
    let more = entries.len().saturating_sub(LONGEST_LIST);
    let mut lines: Vec<String> = entries.into_iter().take(LONGEST_LIST).flatten().collect();
    if more > 0 {
        lines.push(format!("and {more} more, all in the JSON report"));
    }
    lines
}
