//! What the text of a setting means, whatever it came from.
//!
//! Knows nothing of flags, variables or files; builds and donors are read in `cli/targets.rs`.

use std::path::PathBuf;
use std::time::Duration;

use crate::check::UsedBy;
use crate::warm::{Fetch, OnMiss, Prove};

/// What completes "write …", and who reads it.
pub(crate) type Form<T> = (&'static str, fn(&str) -> Result<T, String>);

pub(crate) const SWITCH: Form<bool> = ("true or false", switch);
pub(crate) const DURATION: Form<Duration> = ("60s, 5m or 1h30m", duration);
pub(crate) const SHARE: Form<f64> = ("0.95, say", share);
pub(crate) const ON_MISS: Form<OnMiss> = ("run or fail", on_miss);
pub(crate) const FETCH: Form<Fetch> = ("auto or builder", fetch);
pub(crate) const CONNECTIONS: Form<usize> = ("1 to 64", connections);
pub(crate) const PROVE: Form<Prove> = ("true, false or disk", prove);
pub(crate) const PATH: Form<PathBuf> = ("a path", path);
pub(crate) const PATH_OR_NONE: Form<Option<PathBuf>> = ("a path or `none`", path_or_none);
pub(crate) const USED_BY: Form<UsedBy> = ("a version (v0.34.2) or the path of a buildkitd", used_by);
pub(crate) const REPORT: Form<ReportTo> = ("text, json, markdown or prometheus, or FORMAT=FILE", report);

/// `true` or `false`, and what else people write in variables.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// A span of time with its unit: `60s`, `5m`, `1h30m`. Zero and less are refused.
fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text.parse().map_err(|_| format!("`{text}` is not a duration"))?;
    match Duration::try_from(signed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("`{text}` is not more than no time")),
    }
}

/// A share, 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is not between 0 and 1")),
    }
}

/// `run` or `fail`.
fn on_miss(text: &str) -> Result<OnMiss, String> {
    match text {
        "run" => Ok(OnMiss::Run),
        "fail" => Ok(OnMiss::Fail),
        _ => Err(format!("`{text}` is not something a step can do")),
    }
}

/// `auto` or `builder`.
fn fetch(text: &str) -> Result<Fetch, String> {
    match text {
        "auto" => Ok(Fetch::Auto),
        "builder" => Ok(Fetch::Builder),
        _ => Err(format!("`{text}` is not somebody who fetches")),
    }
}

/// How many connections.
fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=64) => Ok(number),
        _ => Err(format!("`{text}` is not a number of connections")),
    }
}

/// `true`, `false` or `disk`.
fn prove(text: &str) -> Result<Prove, String> {
    match switch(text) {
        Ok(true) => Ok(Prove::Yes),
        Ok(false) => Ok(Prove::No),
        Err(_) if text == "disk" => Ok(Prove::OnDisk),
        Err(_) => Err(format!("`{text}` is neither true, false nor disk")),
    }
}

/// A path, absolute from the current directory on.
fn path(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| format!("`{text}` is not a path: {error}"))
}

/// A path, or `none`.
fn path_or_none(text: &str) -> Result<Option<PathBuf>, String> {
    if text == "none" { Ok(None) } else { path(text).map(Some) }
}

/// A BuildKit, by its version or its program.
fn used_by(text: &str) -> Result<UsedBy, String> {
    text.parse()
}

/// What a report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// For a CI's summary page.
    Markdown,
    /// For node_exporter's textfile collector.
    Prometheus,
}

/// One `--report`: what it looks like and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportTo {
    /// What it looks like.
    pub(crate) format: Format,
    /// The file; standard output when absent.
    pub(crate) file: Option<PathBuf>,
}

/// `FORMAT[=FILE]`; `-` is standard output.
fn report(text: &str) -> Result<ReportTo, String> {
    let (format, file) = text.split_once('=').map_or((text, None), |(format, file)| (format, Some(file)));
    let format = match format {
        "text" => Format::Text,
        "json" => Format::Json,
        "markdown" => Format::Markdown,
        "prometheus" => Format::Prometheus,
        _ => return Err(format!("`{format}` is not a report format")),
    };
    let file = match file {
        None | Some("-") => None,
        Some("") => return Err(format!("`{text}` names no file")),
        Some(file) => Some(path(file)?),
    };
    Ok(ReportTo { format, file })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "60", "5x", "0s", "-5m", "5m ago"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_share_is_between_none_and_all() {
        assert_eq!(share("0.75"), Ok(0.75));
        for wrong in ["1.1", "-0.1", "NaN", "75%"] {
            assert!(share(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_report_has_a_format_and_perhaps_a_file() {
        assert_eq!(report("text"), Ok(ReportTo { format: Format::Text, file: None }));
        assert_eq!(report("json=-"), Ok(ReportTo { format: Format::Json, file: None }));
        assert_eq!(report("json=/r.json"), Ok(ReportTo { format: Format::Json, file: Some("/r.json".into()) }));
        assert_eq!(report("markdown"), Ok(ReportTo { format: Format::Markdown, file: None }));
        assert_eq!(report("xml"), Err("`xml` is not a report format".into()));
        assert_eq!(report("json="), Err("`json=` names no file".into()));
    }

    proptest! {
        #[test]
        fn no_text_makes_any_of_them_panic(text in ".{0,40}") {
            let _ = (fetch(&text), connections(&text));
            let _ = (switch(&text), duration(&text), share(&text), on_miss(&text), report(&text));
        }
    }
}
