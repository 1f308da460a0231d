//! What becomes of the work when somebody ends the run.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Kind};

/// Does the work unless somebody ends the run first.
///
/// # Errors
/// The work's own, and [`interrupted`].
pub(crate) async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        () = cancel.cancelled() => Err(interrupted()),
        outcome = work => outcome,
    }
}

/// The error of a run that somebody ended.
pub(crate) fn interrupted() -> anyhow::Error {
    Failure::new(Kind::Interrupted, "interrupted", "run the same command again: it goes on where this one stopped")
}

/// Whether an error came of that.
pub(crate) fn is_interrupted(error: &anyhow::Error) -> bool {
    Failure::of(error).is_some_and(|failure| failure.kind == Kind::Interrupted)
}
