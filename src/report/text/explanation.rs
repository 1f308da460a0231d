//! `cachewarm explain` for people: the steps that differ, each with what to do, and how many there are.

use super::{Page, shortened, some_reason};
use crate::report::explanation::{Explanation, Sameness, Side};
use crate::report::words::{count, short_digest};

/// The report.
pub(crate) fn text(report: &Explanation) -> String {
    let mut page = Page::default();
    page.section("old", [side(&report.old)]);
    page.section("new", [side(&report.new)]);
    let of = |state: Sameness| report.steps.iter().filter(move |step| step.state == state);
    let differing = of(Sameness::Differs).map(|step| some_reason(&step.name, step.reason.as_ref()));
    page.gap();
    page.section("differs", shortened(differing));
    page.gap();
    let mut counts = vec![count(of(Sameness::Same).count(), "step") + " as before"];
    counts.push(format!("{} that differ", of(Sameness::Differs).count()));
    counts.push(format!("{} built on those", of(Sameness::Below).count()));
    let always = of(Sameness::AlwaysRuns).count();
    counts.extend((always > 0).then(|| format!("{always} that run in every build")));
    page.section("in all", [counts.join(", ")]);
    page.text
}

fn side(side: &Side) -> String {
    let commit = side.commit.as_deref().map(|commit| format!(" at {}", short_digest(commit))).unwrap_or_default();
    format!("{}: {}{commit}, made {}, BuildKit {}", side.file, side.source, side.created_at, side.buildkit_version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Reason;
    use crate::report::explanation::ExplainedStep;

    #[test]
    fn what_differs_is_told_with_what_to_do() {
        let step = |name: &str, state, reason| ExplainedStep {
            digest: String::new(),
            name: name.into(),
            targets: Vec::new(),
            state,
            reason,
        };
        let reason = Reason {
            kind: "command-changed".into(),
            what: "the command changed: make → make -j2".into(),
            detail: Some("- make\n+ make -j2".into()),
            remedy: Some("warm again".into()),
        };
        let side = |file: &str| Side {
            file: file.into(),
            created_at: "2026-01-01".into(),
            source: "https://example.com/x".into(),
            commit: Some("0123456789abcdef0123".into()),
            buildkit_version: "v0.32.2".into(),
        };
        let steps = vec![
            step("[a 1/3] FROM x", Sameness::Same, None),
            step("[a 2/3] RUN make -j2", Sameness::Differs, Some(reason)),
            step("[a 3/3] RUN test", Sameness::Below, None),
        ];
        insta::assert_snapshot!(text(&Explanation::new(side("old.json"), side("new.json"), steps)));
    }
}
