//! Progress for machines: every event as one JSON object per line, with the `time` it came at.

use serde::Serialize;

use super::{Listener, Moment, Screen};
use crate::event::Event;

/// Writes JSON lines.
pub(super) struct Json(Screen);

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl Json {
    pub(super) fn new(screen: Screen) -> Json {
        Json(screen)
    }
}

impl Listener for Json {
    fn see(&mut self, at: Moment, event: &Event) {
        let time = format!("{:.3}", at.wall);
        if let Ok(line) = serde_json::to_string(&Line { time, event }) {
            self.0.line(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::recorded;

    #[test]
    fn every_event_is_a_line_with_its_time() {
        let written = recorded::written(|screen| Box::new(Json::new(screen)));
        assert_eq!(written.lines().count(), recorded::run().len());
        for line in written.lines() {
            let object: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
            assert!(object["event"].is_string() && object["time"].is_string(), "{line}");
        }
        let first: Vec<&str> = written.lines().take(5).collect();
        insta::assert_snapshot!(first.join("\n"), @r#"
        {"time":"2026-01-01T00:00:00.000Z","event":"phase-started","phase":"source"}
        {"time":"2026-01-01T00:00:01.200Z","event":"phase-ended","phase":"source","seconds":1.2}
        {"time":"2026-01-01T00:00:01.200Z","event":"phase-started","phase":"materialize"}
        {"time":"2026-01-01T00:00:01.300Z","event":"planned","results":3}
        {"time":"2026-01-01T00:00:01.300Z","event":"warning","text":"build arg UNUSED is consumed by no stage"}
        "#);
    }
}
