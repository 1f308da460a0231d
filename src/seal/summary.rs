//! From what was found to the report: the verdict, its reasons, and every finding.

use std::collections::BTreeSet;

use super::finding::{Action, Finding};
use super::hold::STOP;
use super::job::Job;
use super::look::Looked;
use crate::redact::Redactor;
use crate::report::check::CheckReport;
use crate::report::seal::{self, FindingKind, SealReport, Searched};
use crate::report::words::count;
use crate::report::{Builder, Clock, Head, Transfer, Verdict};

/// Findings of the same kind that a reason names.
const NAMED: usize = 3;

/// A root that somebody holds, at which nobody looked further.
pub(super) fn held(job: &Job, holders: Vec<String>, clock: Clock) -> SealReport {
    let mut report = SealReport { phases: clock.into_phases(), ..blank(job) };
    hold_against(&mut report, holders);
    report
}

/// Takes the seal from a root that somebody holds.
pub(super) fn hold_against(report: &mut SealReport, holders: Vec<String>) {
    if !holders.is_empty() {
        report.head.verdict = Verdict::NotSealed;
        report.head.reasons = holders.into_iter().map(|holder| format!("{holder}; {STOP}")).collect();
    }
}

/// A root with a database that cannot be read.
pub(super) fn damaged(job: &Job, error: &anyhow::Error, clock: Clock) -> SealReport {
    let mut causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    causes.dedup();
    let reason = format!("the state root is damaged: {}; warm an empty one", causes.join(": "));
    let head = Head::new("seal", Verdict::NotSealed, vec![reason], Vec::new());
    SealReport { head, phases: clock.into_phases(), ..blank(job) }
}

/// What was found before and after things were cleaned, if they were.
pub(super) fn report(job: &Job, before: Option<Vec<Finding>>, after: Looked, checked: &CheckReport) -> SealReport {
    let redactor = &after.redactor;
    let left: BTreeSet<(FindingKind, &str)> = after.findings.iter().map(|it| (it.kind, it.place.as_str())).collect();
    let cleaned = before.iter().flatten().filter(|finding| !left.contains(&(finding.kind, finding.place.as_str())));
    let mut findings: Vec<seal::Finding> = after.findings.iter().map(|it| written(it, false, redactor)).collect();
    findings.extend(cleaned.map(|it| written(it, true, redactor)));
    findings.sort_by(|a, b| (a.kind, &a.place).cmp(&(b.kind, &b.place)));
    let mut reasons: Vec<String> =
        checked.head.reasons.iter().map(|reason| redactor.text(&format!("not warm: {reason}"))).collect();
    reasons.extend(FindingKind::ALL.into_iter().filter_map(|kind| reason(&after.findings, kind, job.fix, redactor)));
    let verdict = if reasons.is_empty() { Verdict::Sealed } else { Verdict::NotSealed };
    let notes = after.notes.iter().chain(&checked.head.notes).map(|note| redactor.text(note)).collect();
    SealReport {
        head: Head::new("seal", verdict, reasons, notes),
        layers: Some(checked.layers),
        findings,
        searched: Searched {
            files: after.files + after.unchanged.files,
            bytes: after.bytes + after.unchanged.bytes,
            secrets: job.secrets.iter().map(|secret| secret.name.clone()).collect(),
        },
        ..blank(job)
    }
}

fn blank(job: &Job) -> SealReport {
    SealReport {
        head: Head::new("seal", Verdict::NotSealed, Vec::new(), Vec::new()),
        builder: Builder { state_root: Some(job.root.display().to_string()), ..Builder::default() },
        layers: None,
        transfer: Transfer::default(),
        phases: Vec::new(),
        hit_rate: None,
        fix: job.fix,
        findings: Vec::new(),
        searched: Searched::default(),
        marker: None,
    }
}

fn written(finding: &Finding, cleaned: bool, redactor: &Redactor) -> seal::Finding {
    seal::Finding {
        kind: finding.kind,
        place: redactor.text(&finding.place),
        what: redactor.text(&finding.what),
        cleaned,
        remedy: finding.remedy().filter(|_| !cleaned).map(|remedy| redactor.text(remedy)),
    }
}

/// Why findings of a kind keep it from being sealed; secrets are named one by one.
fn reason(findings: &[Finding], kind: FindingKind, fix: bool, redactor: &Redactor) -> Option<String> {
    let these: Vec<&Finding> = findings.iter().filter(|finding| finding.kind == kind).collect();
    if these.is_empty() {
        return None;
    }
    let (one, several) = kind.words();
    let noun = if these.len() == 1 { one } else { several };
    let named: Vec<String> = match kind {
        FindingKind::Secret | FindingKind::Unread | FindingKind::Machine => {
            these.iter().take(NAMED).map(|it| format!("{} ({})", it.place, it.what)).collect()
        }
        _ => Vec::new(),
    };
    let more = these.len() - named.len().min(these.len());
    let list = match (named.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", named.join(", ")),
        (false, more) => format!(": {} and {} more", named.join(", "), count(more, "place")),
    };
    let can_be_cleaned = these.iter().all(|finding| !matches!(finding.action, Action::Ask(_)));
    let advice = if can_be_cleaned && !fix { "; --fix cleans it" } else { "" };
    Some(redactor.text(&format!("{} {noun}{list}{advice}", these.len())))
}
