//! The report for a CI's summary page: the verdict, a table of what matters, and one of the steps, in GitHub's markdown.

use super::words::{clean, count, seconds};
use super::{Facts, Step, StepState};

/// Rows of a table of steps; a page has a limit, and the JSON report has them all.
const MOST_ROWS: usize = 200;

/// The report as markdown, ending with a line break.
pub(crate) fn markdown(facts: &Facts<'_>) -> String {
    let mut text = format!("## cachewarm {}: {}\n\n", facts.command, facts.verdict.words());
    for reason in facts.reasons {
        text.push_str(&format!("- {}\n", plain(reason)));
    }
    if !facts.reasons.is_empty() {
        text.push('\n');
    }
    text.push_str("| | |\n|---|---|\n");
    for (name, value) in rows(facts) {
        text.push_str(&format!("| {name} | {} |\n", plain(&value)));
    }
    let (hits, others): (Vec<&Step>, Vec<&Step>) = facts.steps.iter().partition(|step| step.state == StepState::Hit);
    if !others.is_empty() {
        text.push_str(&format!("\n{}", table(&others)));
    }
    if !hits.is_empty() {
        let summary = count(hits.len(), "hit");
        text.push_str(&format!("\n<details><summary>{summary}</summary>\n\n{}\n</details>\n", table(&hits)));
    }
    text
}

fn rows(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(source) = facts.source {
        let commit = source.commit.iter().map(|commit| format!(" at {commit}"));
        rows.push(("source", format!("{}{}", source.location, commit.collect::<String>())));
    }
    rows.extend(facts.builder.state_root.clone().map(|root| ("state root", root)));
    if !facts.builder.buildkit_version.is_empty() {
        rows.push(("BuildKit", facts.builder.buildkit_version.clone()));
    }
    rows.extend(facts.hit_rate.map(|rate| ("hit rate", format!("{:.0} %", (rate * 100.0).floor()))));
    rows.push((
        "layers",
        facts.layers.map_or("not read from disk".to_owned(), |layers| {
            format!("{} of {} extracted", layers.extracted, layers.total)
        }),
    ));
    rows.push(("time", seconds(facts.phases.iter().map(|phase| phase.seconds).sum())));
    rows
}

fn table(steps: &[&Step]) -> String {
    let mut text = "| step | | why |\n|---|---|---|\n".to_owned();
    for step in steps.iter().take(MOST_ROWS) {
        let reason = step.reason.as_ref();
        let why = reason.map(|reason| match &reason.remedy {
            Some(remedy) => format!("{}; {remedy}", reason.what),
            None => reason.what.clone(),
        });
        let why = why.unwrap_or_default();
        text.push_str(&format!("| {} | {} | {} |\n", code(&step.name), step.state.words(), plain(&why)));
    }
    if steps.len() > MOST_ROWS {
        text.push_str(&format!("\n… and {} more\n", steps.len() - MOST_ROWS));
    }
    text
}

/// Foreign text that is to be read as it is: neither markdown nor HTML, on one line.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in clean(text).chars() {
        match character {
            '<' => plain.push_str("&lt;"),
            '&' => plain.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '>' => {
                plain.push('\\');
                plain.push(character);
            }
            _ => plain.push(character),
        }
    }
    plain
}

/// Foreign text as code: in a table only a pipe has a meaning in it, and a backtick ends it.
fn code(text: &str) -> String {
    format!("`` {} ``", clean(text).replace("``", "` `").replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Reported, sample};

    #[test]
    fn a_page_says_the_verdict_first_and_hides_the_hits() {
        insta::assert_snapshot!(markdown(&sample::warm().facts()));
    }

    proptest! {
        #[test]
        fn no_name_breaks_out_of_its_cell(name in ".{0,60}") {
            for cell in [plain(&name), code(&name)] {
                prop_assert!(!cell.contains('\n'));
                let mut before = ' ';
                for character in cell.chars() {
                    prop_assert!(character != '|' || before == '\\');
                    before = character;
                }
            }
            prop_assert!(!plain(&name).contains('<'));
        }
    }
}
