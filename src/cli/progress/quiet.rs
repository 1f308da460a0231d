//! No progress: only what a person has to look at.

use super::{Listener, Moment, Screen, plain};
use crate::event::Event;

/// Writes warnings.
pub(super) struct Quiet(Screen);

impl Quiet {
    pub(super) fn new(screen: Screen) -> Quiet {
        Quiet(screen)
    }
}

impl Listener for Quiet {
    fn see(&mut self, _at: Moment, event: &Event) {
        if let Some(warning) = plain::warning(event) {
            self.0.line(&warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::recorded;

    #[test]
    fn only_warnings_are_heard() {
        insta::assert_snapshot!(recorded::written(|screen| Box::new(Quiet::new(screen))), @"
        warning: build arg UNUSED is consumed by no stage
        warning: could not import from r.example/c:next: not found
        warning: nothing moved for 1m 00s; asking again (attempt 2)
        ");
    }
}
