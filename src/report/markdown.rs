//! The report for a CI's summary page: the verdict, a table of what matters, and one of the steps, in GitHub's markdown.

use super::words::{clean, count, seconds};
use super::{Facts, Step, StepState};

/// Rows of a table of steps; a page has a limit, and the JSON report has them all.
const MOST_ROWS: usize = 200;

/// The report as markdown, ending with a line break.
pub(crate) fn markdown(facts: &Facts<'_>) -> String {
    let mut text = format!("## cachewarm {}: {}\n\n", facts.head.command, facts.head.verdict.words());
    for reason in &facts.head.reasons {
        text.push_str(&format!("- {}\n", plain(reason)));
    }
    if !facts.head.reasons.is_empty() {
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
        let changes = source.changes().map(|changes| format!(" {changes}")).unwrap_or_default();
        rows.push(("source", format!("{}{}{changes}", source.location, commit.collect::<String>())));
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

/// Foreign text that is read as it is: neither markdown, HTML, an address nor a mention, on one line.
fn plain(text: &str) -> String {
    let text = clean(text);
    let mut plain = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        match character {
            '<' => plain.push_str("&lt;"),
            '&' => plain.push_str("&amp;"),
            // GitHub makes links of addresses; an escaped colon or a letter by its number begins none.
            'w' | 'W' if text[at..].get(..4).is_some_and(|word| word.eq_ignore_ascii_case("www.")) => {
                plain.push_str(&format!("&#{};", u32::from(character)));
            }
            // Neither escapes nor numbers keep it from making a link of a mail address or a mention of a name.
            '@' if text[..at].ends_with('@') => plain.insert(plain.len() - 1, '@'),
            '@' => plain.push_str("`@`"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '>' | ':' => {
                plain.push('\\');
                plain.push(character);
            }
            _ => plain.push(character),
        }
    }
    plain
}

/// Foreign text as code, between more backticks than it has in a row. In a table a pipe has a meaning there as well.
fn code(text: &str) -> String {
    let text = clean(text);
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    format!("{fence} {} {fence}", text.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;
    use crate::report::{Reported, sample};

    #[test]
    fn a_page_says_the_verdict_first_and_hides_the_hits() {
        insta::assert_snapshot!(markdown(&sample::warm().facts()));
    }

    /// What GitHub's own renderer makes of cells: each row's cells, as HTML.
    fn rendered(cells: &[[String; 2]]) -> Vec<Vec<String>> {
        let rows: String = cells.iter().map(|[code, plain]| format!("| {code} | hit | {plain} |\n")).collect();
        let mut renderer = Command::new("cmark-gfm")
            .args(["--unsafe", "-e", "table", "-e", "autolink", "-e", "strikethrough"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cmark-gfm is installed: apt-get install cmark-gfm");
        let page = format!("| step | | why |\n|---|---|---|\n{rows}");
        let mut input = renderer.stdin.take().unwrap();
        let writing = std::thread::spawn(move || input.write_all(page.as_bytes()));
        let html = String::from_utf8(renderer.wait_with_output().unwrap().stdout).unwrap();
        writing.join().unwrap().unwrap();
        let body = html.split_once("<tbody>").unwrap().1.split_once("</tbody>").unwrap().0;
        let cells = |row: &str| {
            let cells = row.split("<td>").skip(1).map(|cell| cell.split_once("</td>").unwrap().0.to_owned());
            cells.collect::<Vec<_>>()
        };
        body.split("<tr>").skip(1).map(cells).collect()
    }

    /// The text of HTML that has no other elements than code.
    fn text_of(html: &str) -> String {
        let text = html.replace("<code>", "").replace("</code>", "");
        assert!(!text.contains('<'), "{html}");
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn is_only_text(names: &[String]) {
        let cells: Vec<_> = names.iter().map(|name| [code(name), plain(name)]).collect();
        let rows = rendered(&cells);
        assert_eq!(rows.len(), names.len());
        for (row, name) in rows.iter().zip(names) {
            assert_eq!(row.len(), 3, "{name:?}: {row:?}");
            let expected = clean(name).split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!((text_of(&row[0]), text_of(&row[2])), (expected.clone(), expected), "{row:?}");
        }
    }

    #[test]
    fn githubs_renderer_sees_text_in_every_cell() {
        let pieces = [
            "RUN echo",
            "```",
            "``",
            "`",
            "[**warm**](https://evil.example)",
            "<img src=x>",
            "a|b",
            "a\\|b",
            "\\",
            "|",
            "https://x.example/a?b=c&d",
            "www.evil.example",
            "me@evil.example",
            "@team",
            "#12",
            "&lt;",
            "&#60;",
            "<!--",
            "~~x~~",
            "__x__",
            "<https://x.example>",
            "![x](y)",
            "</code>",
            "</details>",
            "- x",
            "\n\n# x",
            "\u{1b}[31m",
            "mailto:a@b.example",
            "ftp://x.example",
            "xmpp:a@b.example",
            "$x$",
            "::error::x",
        ];
        let names: Vec<String> = pieces
            .iter()
            .flat_map(|one| {
                pieces.iter().flat_map(move |other| [format!("x {one}{other} y"), format!("{one} {other}")])
            })
            .collect();
        is_only_text(&names);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn no_text_is_more_than_text(names in proptest::collection::vec("[a-z`|\\\\<>&\\[\\]()*_~!#:/@.w 0-9-]{1,40}", 50)) {
            let names: Vec<String> = names.into_iter().map(|name| format!("x{name}x")).collect();
            is_only_text(&names);
        }
    }
}
