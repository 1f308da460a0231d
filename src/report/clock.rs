//! How long each phase of a run takes.

use std::cell::RefCell;
use std::future::Future;
use std::time::Instant;

use super::Phase;
use crate::event::{Event, Events};

/// Times phases and tells listeners of them.
#[derive(Debug)]
pub(crate) struct Clock {
    events: Events,
    phases: RefCell<Vec<Phase>>,
}

impl Clock {
    /// A clock that has timed nothing.
    pub(crate) fn new(events: Events) -> Clock {
        Clock { events, phases: RefCell::default() }
    }

    /// Times one phase.
    pub(crate) async fn time<T>(&self, phase: &'static str, work: impl Future<Output = T>) -> T {
        self.events.emit(Event::PhaseStarted { phase });
        let started = Instant::now();
        let outcome = work.await;
        let took = started.elapsed();
        self.events.phase_ended(phase, took);
        self.phases.borrow_mut().push(Phase { name: phase.to_owned(), seconds: took.as_secs_f64() });
        outcome
    }

    /// The phases, in the order they ended.
    pub(crate) fn into_phases(self) -> Vec<Phase> {
        self.phases.into_inner()
    }
}
