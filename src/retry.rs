//! When to try again, and how long to wait before: the only place that sleeps.
//!
//! **Invariant:** every wait here is bounded. It deliberately does not know what an error means; the error says so
//! itself ([`Retry`]), because only the code that made it can tell a busy server from a wrong password.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// What an error says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The answer will not change.
    Never,
    /// It may pass; wait as the policy says.
    Later,
    /// It may pass, and the other side said how long to wait (`Retry-After`).
    After(Duration),
}

/// How often to try, and how long to wait in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Tries in total; at least one is made.
    pub(crate) attempts: u32,
    /// The wait before the second try; it doubles with each further one.
    pub(crate) first_wait: Duration,
    /// No wait is longer than this.
    pub(crate) longest_wait: Duration,
    /// When the other side asks for more than this, its error is returned at once.
    pub(crate) longest_asked: Duration,
}

impl Policy {
    /// For requests to a registry: five tries within about four seconds, longer only when the registry asks for it.
    pub(crate) const REGISTRY: Policy = Policy {
        attempts: 5,
        first_wait: Duration::from_millis(250),
        longest_wait: Duration::from_secs(5),
        longest_asked: Duration::from_secs(60),
    };

    /// The wait before try `attempt` + 1 (`attempt` counts from 1), before jitter.
    fn wait(&self, attempt: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.longest_wait)
    }
}

/// Runs `operation` until it succeeds, its error says [`Retry::Never`], or the policy's tries are used up; then its
/// last error is returned. `operation` gets the number of the try, from 1.
pub(crate) async fn retrying<T, E, O, F>(policy: Policy, says: impl Fn(&E) -> Retry, mut operation: O) -> Result<T, E>
where
    O: FnMut(u32) -> F,
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        let error = match operation(attempt).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let wait = match says(&error) {
            Retry::Later => jittered(policy.wait(attempt)),
            Retry::After(asked) if asked <= policy.longest_asked => asked.max(policy.first_wait),
            Retry::After(_) | Retry::Never => return Err(error),
        };
        if attempt >= policy.attempts {
            return Err(error);
        }
        pause(wait).await;
        attempt += 1;
    }
}

/// Does nothing for `duration`.
#[expect(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Asks again and again, `wait` apart, until there is an answer; none when there is still none after `limit`.
///
/// # Errors
/// That of asking.
pub(crate) async fn until<T>(
    limit: Duration,
    wait: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            pause(wait).await;
        }
    };
    tokio::time::timeout(limit, asking).await.ok().transpose()
}

/// Between half of `wait` and all of it, so that many who failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    // A fresh `RandomState` is randomly keyed: randomness enough for spreading load, without a crate for it.
    let random = RandomState::new().hash_one(0_u8) % 1024;
    wait / 2 + wait.mul_f64(random as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;

    const QUICK: Policy = Policy {
        attempts: 3,
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(2),
        longest_asked: Duration::from_millis(50),
    };

    async fn tries(says: Retry, succeeds_at: u32) -> (Result<u32, &'static str>, u32) {
        let made = Cell::new(0);
        let outcome = retrying(
            QUICK,
            |_| says,
            |attempt| {
                made.set(attempt);
                async move { if attempt >= succeeds_at { Ok(attempt) } else { Err("not yet") } }
            },
        )
        .await;
        (outcome, made.get())
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        assert_eq!(tries(Retry::Later, 3).await, (Ok(3), 3));
        assert_eq!(tries(Retry::Later, 9).await, (Err("not yet"), 3));
        assert_eq!(tries(Retry::Never, 3).await, (Err("not yet"), 1));
    }

    #[tokio::test]
    async fn a_wait_the_other_side_asks_for_is_kept_unless_it_is_absurd() {
        let start = Instant::now();
        assert_eq!(tries(Retry::After(Duration::from_millis(30)), 2).await, (Ok(2), 2));
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(tries(Retry::After(Duration::from_secs(3600)), 2).await, (Err("not yet"), 1));
    }

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_stays_within_half() {
        let policy = Policy { longest_wait: Duration::from_secs(1), ..Policy::REGISTRY };
        let waits: Vec<_> = (1..=5).map(|attempt| policy.wait(attempt).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 1000, 1000]);
        assert_eq!(policy.wait(u32::MAX), Duration::from_secs(1));
        for _ in 0..100 {
            let wait = jittered(Duration::from_millis(100));
            assert!((50..=100).contains(&wait.as_millis()), "{wait:?}");
        }
    }
}
