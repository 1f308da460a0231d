//! What is made of status streams that tell of failures, or too little.

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;

use super::*;

fn tracker() -> StatusTracker {
    StatusTracker::new(Events::nobody(), false, Redactor::default())
}

fn vertex(digest: &str, name: &str, error: &str, ended: bool) -> Vertex {
    let time = Timestamp { seconds: 7, nanos: 0 };
    Vertex {
        digest: digest.into(),
        name: name.into(),
        error: error.into(),
        started: Some(time),
        completed: ended.then_some(time),
        ..Vertex::default()
    }
}

fn apply(tracker: &StatusTracker, vertexes: Vec<Vertex>) {
    tracker.apply(StatusResponse { vertexes, ..StatusResponse::default() });
}

#[test]
fn an_import_that_failed_is_known_though_nobody_waited_for_the_alarm() {
    let tracker = tracker();
    apply(&tracker, vec![vertex("sha256:1", "importing cache manifest from r/a:b", "", false)]);
    assert!(tracker.imported_all().is_ok());
    apply(&tracker, vec![vertex("sha256:1", "importing cache manifest from r/a:b", "not found", true)]);
    let Err(Alarm::ImportFailed { donor, error }) = tracker.imported_all() else { panic!("it is not known") };
    assert_eq!((donor.as_str(), error.as_str()), ("r/a:b", "not found"));
}
