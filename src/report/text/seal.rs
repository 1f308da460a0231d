//! Is the machine safe to snapshot?

use super::{Page, layers, shortened, time};
use crate::report::seal::{Finding, FindingKind, SealReport};
use crate::report::words::{bytes, count};

/// The report as lines of text.
pub(crate) fn text(report: &SealReport) -> String {
    let mut page = Page::default();
    page.section("state root", report.builder.state_root.clone());
    page.section("layers", report.layers.as_ref().map(|it| layers(Some(it))).into_iter().flatten());
    let searched = &report.searched;
    if searched.files > 0 {
        let files = count(searched.files as usize, "file");
        let names = searched.secrets.iter().map(String::as_str).chain(["tokens by their shape"]);
        let names = names.collect::<Vec<_>>().join(", ");
        page.section("searched", [format!("{files}, {}", bytes(searched.bytes)), format!("for {names}")]);
    }
    page.gap();
    for (label, cleaned) in [("found", false), ("cleaned", true)] {
        let lines = FindingKind::ALL.into_iter().flat_map(|kind| of_kind(&report.findings, kind, cleaned));
        page.section(label, lines);
        page.gap();
    }
    page.section("marker", report.marker.clone());
    page.section("time", [time(&report.phases)]);
    page.section("notes", report.head.notes.iter().cloned());
    page.verdict(report.head.verdict, &report.head.reasons);
    page.text
}

fn of_kind(findings: &[Finding], kind: FindingKind, cleaned: bool) -> Vec<String> {
    let these: Vec<&Finding> =
        findings.iter().filter(|finding| finding.kind == kind && finding.cleaned == cleaned).collect();
    if these.is_empty() {
        return Vec::new();
    }
    let (one, several) = kind.words();
    let head = format!("{} {}", these.len(), if these.len() == 1 { one } else { several });
    let each = these.iter().map(|finding| {
        let mut lines = vec![format!("  {}: {}", finding.place, finding.what)];
        lines.extend(finding.remedy.iter().map(|remedy| format!("    to do: {remedy}")));
        lines
    });
    [head].into_iter().chain(shortened(each)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_check::sealed;
    use crate::report::{Head, Verdict};

    #[test]
    fn what_is_left_comes_before_what_was_cleaned() {
        let finding = |kind, place: &str, what: &str, cleaned, remedy: Option<&str>| Finding {
            kind,
            place: place.into(),
            what: what.into(),
            cleaned,
            remedy: remedy.map(str::to_owned),
        };
        let reasons = vec!["/etc/app.conf has a secret: build argument NPM_TOKEN, as it is".into()];
        let report = SealReport {
            head: Head::new("seal", Verdict::NotSealed, reasons, Vec::new()),
            findings: vec![
                finding(FindingKind::Machine, "/root/.netrc", "logins", false, Some("remove the file")),
                finding(FindingKind::History, "history.db", "12 builds", true, None),
                finding(FindingKind::LocalSource, "record x1", "local source for context", true, None),
                finding(
                    FindingKind::Secret,
                    "/etc/app.conf",
                    "build argument NPM_TOKEN, as it is",
                    false,
                    Some("remove it"),
                ),
            ],
            marker: None,
            ..sealed()
        };
        insta::assert_snapshot!(text(&report), @"
        state root /var/lib/buildkit
        layers     11 of 11 extracted; on disk 12 MiB compressed, 22 MiB unpacked
        searched   1200 files, 5.0 MiB
                   for secret npm, build argument NPM_TOKEN, tokens by their shape

        found      1 secret
                     /etc/app.conf: build argument NPM_TOKEN, as it is
                       to do: remove it
                   1 login or token
                     /root/.netrc: logins
                       to do: remove the file

        cleaned    1 history of builds
                     history.db: 12 builds
                   1 copy of a build's directory
                     record x1: local source for context

        time       look 2.0 s; 2.0 s in all

        verdict    not sealed
                   - /etc/app.conf has a secret: build argument NPM_TOKEN, as it is
        ");
    }
}
