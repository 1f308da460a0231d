//! Data on standard output and in report files, and what is said about an error.
//!
//! A reader of standard output that went away is no error. A report file is there whole or not at all, and one of an
//! earlier run never outlives the beginning of this one: nobody may take its verdict for ours.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::progress::Screen;
use super::settings::{Format, ReportTo};
use crate::document::folder;
use crate::failure::{Explain, Failure, Kind};
use crate::redact::Redactor;
use crate::report::words::clean;
use crate::report::{self, Reported};

/// Writes data to standard output.
///
/// # Errors
/// When it cannot be written, unless its reader went away.
pub(super) fn data(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.explain(
            Kind::Environment,
            "could not write to standard output",
            "look where it is redirected to, or write to a file with --report FORMAT=FILE",
        ),
    }
}

/// Makes sure that the report files can be written at the end, and removes those of an earlier run.
///
/// # Errors
/// When a file's folder does not take files.
pub(super) fn clear_the_way(reports: &[ReportTo]) -> anyhow::Result<()> {
    for file in reports.iter().filter_map(|report| report.file.as_deref()) {
        if is_special(file) {
            continue;
        }
        let ready = match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => tempfile::NamedTempFile::new_in(folder(file)).map(drop),
        };
        ready.explain(
            Kind::Environment,
            format!("could not prepare the report file {}", file.display()),
            "name a file in a folder that exists and is writable",
        )?;
    }
    Ok(())
}

/// Writes the reports, without the secrets of the build.
///
/// # Errors
/// The first that cannot be written; the others are written all the same.
pub(super) fn reports(report: &impl Reported, to: &[ReportTo], secrets: &Redactor) -> anyhow::Result<()> {
    let each: Vec<anyhow::Result<()>> = to
        .iter()
        .map(|to| {
            let text = match to.format {
                Format::Json => secrets.json(&report::json(report)?),
                format => secrets.known_text(&words(report, format)).into_owned(),
            };
            match &to.file {
                None => data(&text),
                Some(file) => write(file, &text).explain(
                    Kind::Environment,
                    format!("could not write the report file {}", file.display()),
                    "name a file in a folder that exists and is writable, on a disk that is not full",
                ),
            }
        })
        .collect();
    each.into_iter().collect()
}

fn words(report: &impl Reported, format: Format) -> String {
    match format {
        Format::Markdown => report::markdown(&report.facts()),
        Format::Prometheus => report::prometheus(&report.facts()),
        Format::Text | Format::Json => report.text(),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if is_special(file) {
        return fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes());
    }
    // Readable by whom the umask lets: a report holds no secrets.
    let mut whole =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder(file))?;
    whole.write_all(text.as_bytes())?;
    whole.as_file().sync_all()?;
    whole.persist(file)?;
    Ok(())
}

/// A pipe, a terminal, /dev/stdout: something that is written to, not replaced.
fn is_special(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Says the verdict to a person who does not see the text report, and gives the exit code: only a good verdict is a
/// success, because what nobody looked at on disk may be cold.
pub(super) fn verdict(screen: &Screen, report: &impl Reported, to: &[ReportTo]) -> u8 {
    let shown = to.iter().any(|to| to.format == Format::Text && to.file.is_none());
    match report.head().verdict {
        verdict if verdict.is_good() => 0,
        verdict => {
            if !shown {
                let why =
                    report.head().reasons.first().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
                screen.log(&format!("{}{why}", verdict.words()));
            }
            Kind::NotWarm.exit_code()
        }
    }
}

/// Says what went wrong, once: what, its causes, what to try. Gives the exit code.
pub(super) fn error(screen: &Screen, error: &anyhow::Error) -> u8 {
    let failure = Failure::of(error);
    // An error nobody explained is taken for one of the world around us.
    let exit = failure.map_or(Kind::Environment, |failure| failure.kind).exit_code();
    let hint = failure.map(|failure| failure.hint.as_str()).filter(|hint| !hint.is_empty());
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    // A cause that only repeats the one above it tells nothing.
    causes.dedup();
    let what = causes.remove(0);
    if screen.is_json() {
        let time = format!("{:.3}", jiff::Timestamp::now());
        let line = serde_json::json!({
            "time": time, "event": "error", "what": what, "causes": causes, "hint": hint, "exit": exit,
        });
        screen.line(&line.to_string());
        return exit;
    }
    screen.line(&format!("error: {}", lines(&what)));
    for cause in causes {
        screen.line(&format!("caused by: {}", lines(&cause)));
    }
    if let Some(hint) = hint {
        screen.line(&format!("hint: {}", lines(hint)));
    }
    exit
}

/// Text of several lines, each cleaned, those after the first indented.
fn lines(text: &str) -> String {
    text.trim_end().lines().map(clean).collect::<Vec<_>>().join("\n  ")
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
