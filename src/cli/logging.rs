//! Diagnostics on standard error, for whoever looks into cachewarm itself.
//!
//! **Invariant:** other crates are heard at `warn` at most, whatever the filter says: what they write below that is
//! the wire, and on the wire are tokens.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::progress::Screen;
use super::settings::Given;
use crate::report::words::clean;

/// Starts logging: at `warn`, with one `-v` at `info`, with two at `debug`, with three at `trace`, or by a filter.
///
/// # Errors
/// A usage error when the filter is none.
pub(super) fn start(screen: &Screen, verbosity: u8, filter: Option<&Given<String>>) -> anyhow::Result<()> {
    let subscriber = subscriber(screen.clone(), verbosity, filter)?;
    // Fails where logging was started before, in tests; the first one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn subscriber(
    screen: Screen,
    verbosity: u8,
    filter: Option<&Given<String>>,
) -> anyhow::Result<impl tracing::Subscriber + Send + Sync> {
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = match filter {
        Some(given) => {
            given.read("a filter such as info or cachewarm::buildkit=debug", |text| EnvFilter::try_new(text))?.value
        }
        None => EnvFilter::default().add_directive(level.into()),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(Lines(screen))
        .with_filter(filter.and(filter_fn(is_harmless)));
    Ok(tracing_subscriber::registry().with(layer))
}

fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "cachewarm" || target.starts_with("cachewarm::");
    // More verbose levels are the greater ones.
    ours || *metadata.level() <= Level::WARN
}

/// Hands whole lines to the screen.
struct Lines(Screen);

/// What one log entry has written so far.
struct Line {
    screen: Screen,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { screen: self.0.clone(), bytes: Vec::new() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for line in String::from_utf8_lossy(&self.bytes).lines() {
            self.screen.log(&clean(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::Origin;

    fn logged(verbosity: u8, filter: Option<&str>) -> String {
        let (screen, written) = Screen::recording();
        let given = filter.map(|filter| Given { value: filter.to_owned(), origin: Origin::Flag("log") });
        let subscriber = subscriber(screen, verbosity, given.as_ref()).expect("the filter is one");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("ours");
            tracing::warn!(target: "h2::client", "theirs");
            tracing::trace!(target: "h2::client", "authorization: Bearer hush");
        });
        written.text()
    }

    #[test]
    fn other_crates_never_log_what_went_over_the_wire() {
        let written = logged(3, Some("trace,h2=trace"));
        assert!(written.contains("ours") && written.contains("theirs"), "{written}");
        assert!(!written.contains("hush"), "{written}");
    }

    #[test]
    fn verbosity_opens_our_own_mouth() {
        assert!(!logged(0, None).contains("ours"));
        assert!(logged(1, None).contains("ours"));
    }

    #[test]
    fn a_filter_that_is_none_is_refused_by_name() {
        let (screen, _) = Screen::recording();
        let given = Given { value: "cachewarm=loud".to_owned(), origin: Origin::Variable("CACHEWARM_LOG".to_owned()) };
        let error = subscriber(screen, 0, Some(&given)).err().expect("it is refused");
        assert!(error.to_string().starts_with("could not use CACHEWARM_LOG: "), "{error}");
    }
}
