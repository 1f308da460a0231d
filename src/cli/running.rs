//! Runs a pipeline: the runtime, the listener, and what signals do to it.
//!
//! The first SIGINT, SIGTERM or SIGHUP cancels the pipeline's token, and the pipeline stops what it started; a second one
//! does not wait for that.

use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::progress::{self, Mode, Screen};
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};

/// How long the display may take to show the last events, where a forgotten task still holds their sink.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long threads of a run that failed may take to tidy up.
const TIDYING: Duration = Duration::from_secs(2);

const AGAIN: &str = "run the same command again; it goes on from what is there";

/// Runs a pipeline to its end and shows its events.
///
/// # Errors
/// The pipeline's own, or that it was interrupted.
pub(super) fn run<T, F>(
    screen: &Screen,
    mode: Mode,
    pipeline: impl FnOnce(CancellationToken, Events) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().explain(
        Kind::Environment,
        "could not start the threads to work with",
        "look at the limits on processes and memory (`ulimit -a`)",
    )?;
    let outcome = runtime.block_on(async {
        let signals = signals()?;
        let (events, stream) = Events::channel();
        let listener = tokio::spawn(progress::listen(stream, progress::listener(mode, screen)));
        let abort = listener.abort_handle();
        let cancel = CancellationToken::new();
        let outcome = interruptible(pipeline(cancel.clone(), events), &cancel, signals, screen).await;
        if tokio::time::timeout(LAST_WORDS, listener).await.is_err() {
            abort.abort();
            let _ = screen.bars().clear();
        }
        outcome
    });
    match outcome {
        // Whatever still goes on is only giving memory back.
        Ok(_) => runtime.shutdown_background(),
        // A clone that was given up removes what it has written. A thread that hangs in a system call must not keep us.
        Err(_) => runtime.shutdown_timeout(TIDYING),
    }
    outcome
}

fn signals() -> anyhow::Result<mpsc::UnboundedReceiver<()>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signal = signal(kind).explain(
            Kind::Environment,
            "could not listen for signals",
            "look at the limits on open files (`ulimit -n`)",
        )?;
        let sender = sender.clone();
        tokio::spawn(async move { while signal.recv().await.is_some() && sender.send(()).is_ok() {} });
    }
    Ok(receiver)
}

/// Waits for a pipeline, or for the second signal.
async fn interruptible<T>(
    pipeline: impl Future<Output = anyhow::Result<T>>,
    cancel: &CancellationToken,
    mut signals: mpsc::UnboundedReceiver<()>,
    screen: &Screen,
) -> anyhow::Result<T> {
    let mut pipeline = std::pin::pin!(pipeline);
    loop {
        tokio::select! {
            outcome = &mut pipeline => return match outcome {
                Err(error) if cancel.is_cancelled() => Err(interrupted(error)),
                outcome => outcome,
            },
            Some(()) = signals.recv() => {
                if cancel.is_cancelled() {
                    return Err(Failure::new(Kind::Interrupted, "interrupted, without a clean stop", AGAIN));
                }
                screen.log("interrupted: stopping what was started; a second signal does not wait for that");
                cancel.cancel();
            }
        }
    }
}

/// Whatever fails after it was told to stop fails because of that.
fn interrupted(error: anyhow::Error) -> anyhow::Error {
    match Failure::of(&error) {
        Some(failure) if failure.kind == Kind::Interrupted => error,
        // Its own explanation is left out: the remedy for being interrupted is not the remedy for what broke then.
        _ => {
            let cause: anyhow::Result<()> = Err(anyhow!("{error:#}"));
            cause.explain(Kind::Interrupted, "interrupted", AGAIN).err().unwrap_or(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of<T: std::fmt::Debug>(outcome: &anyhow::Result<T>) -> Option<u8> {
        Failure::of(outcome.as_ref().expect_err("it did not succeed")).map(|failure| failure.kind.exit_code())
    }

    #[tokio::test]
    async fn a_first_signal_lets_the_pipeline_stop_what_it_started() {
        let (screen, written) = Screen::recording();
        let (sender, signals) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let stopped = std::cell::Cell::new(false);
        let pipeline = async {
            sender.send(()).expect("someone listens");
            cancel.cancelled().await;
            stopped.set(true);
            Err::<(), _>(Failure::new(Kind::Build, "could not solve: context canceled", "mend the Dockerfile"))
        };
        let outcome = interruptible(pipeline, &cancel, signals, &screen).await;
        assert!(stopped.get());
        assert_eq!(exit_of(&outcome), Some(130));
        let words = format!("{:#}", outcome.expect_err("it was interrupted"));
        assert_eq!(words, "interrupted: could not solve: context canceled");
        assert!(written.text().starts_with("interrupted: stopping"));
    }

    #[tokio::test]
    async fn a_second_signal_does_not_wait() {
        let (screen, _) = Screen::recording();
        let (sender, signals) = mpsc::unbounded_channel();
        sender.send(()).and_then(|()| sender.send(())).expect("someone listens");
        let cancel = CancellationToken::new();
        let outcome = interruptible(std::future::pending::<anyhow::Result<()>>(), &cancel, signals, &screen).await;
        assert_eq!(exit_of(&outcome), Some(130));
    }

    #[tokio::test]
    async fn a_pipeline_that_was_done_before_the_signal_keeps_its_word() {
        let (screen, _) = Screen::recording();
        let (_sender, signals) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let outcome = interruptible(async { Ok(7) }, &cancel, signals, &screen).await;
        assert_eq!(outcome.ok(), Some(7));
    }
}
