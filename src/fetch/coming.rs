//! A blob on its way: how far its parts have come, written down as they come.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::follow::Follower;
use super::plan::Blob;
use super::store::Incoming;
use super::trouble::Trouble;
use crate::event::{Event, Events};

/// A blob on its way.
pub(super) struct Coming<'b> {
    pub(super) blob: &'b Blob,
    incoming: Incoming,
    follower: Follower,
    reach: Mutex<Reach>,
}

/// How far the parts of a blob have come.
struct Reach {
    parts: Vec<Range<u64>>,
    /// The offset each has come to.
    at: Vec<u64>,
    /// The first part that has not come completely; all before it have.
    next: usize,
}

impl Reach {
    fn of(parts: Vec<Range<u64>>) -> Reach {
        Reach { at: parts.iter().map(|part| part.start).collect(), parts, next: 0 }
    }

    /// A part has come so far: the offset before which everything is there, and how much is there in all.
    fn advance(&mut self, number: usize, to: u64) -> (u64, u64) {
        self.at[number] = to;
        while self.next < self.parts.len() && self.at[self.next] == self.parts[self.next].end {
            self.next += 1;
        }
        let before = match self.at.get(self.next) {
            Some(at) => *at,
            None => self.parts.last().map_or(0, |part| part.end),
        };
        (before, self.at.iter().zip(&self.parts).map(|(at, part)| at - part.start).sum())
    }
}

impl<'b> Coming<'b> {
    /// A blob that comes in these parts.
    pub(super) fn of(blob: &'b Blob, incoming: Incoming, parts: Vec<Range<u64>>) -> Coming<'b> {
        let follower = Follower::of(incoming.file.clone(), blob.size);
        Coming { blob, incoming, follower, reach: Mutex::new(Reach::of(parts)) }
    }

    /// What has come, and who hashes it.
    pub(super) fn come(self) -> (Incoming, Follower) {
        (self.incoming, self.follower)
    }

    /// The offset that a part has come to.
    pub(super) fn reached(&self, number: usize) -> u64 {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).at[number]
    }

    /// Writes what came of a part, and gives the emptied buffer.
    pub(super) async fn write(&self, number: usize, mut buffer: Vec<u8>, events: &Events) -> Result<Vec<u8>, Trouble> {
        let at = self.reached(number);
        if buffer.is_empty() {
            return Ok(buffer);
        }
        let (file, to) = (self.incoming.file.clone(), at + buffer.len() as u64);
        let written = tokio::task::spawn_blocking(move || {
            Incoming::write(&file, &buffer, at)?;
            buffer.clear();
            Ok(buffer)
        });
        let buffer = written.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(Trouble::Disk)?;
        let (before, bytes) = {
            let mut reach = self.reach.lock().unwrap_or_else(PoisonError::into_inner);
            reach.advance(number, to)
        };
        self.follower.tell(before);
        events.emit(Event::BlobAdvanced { blob: self.blob.digest.clone(), bytes, total: self.blob.size });
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_there_from_the_start_is_what_all_parts_before_it_have(
            sizes in prop::collection::vec(1..20_u64, 1..8), order in prop::collection::vec((0..8_usize, 1..6_u64), 0..80),
        ) {
            let mut start = 0;
            let parts: Vec<Range<u64>> = sizes.iter().map(|size| { start += size; start - size..start }).collect();
            let mut there = vec![false; usize::try_from(start).unwrap()];
            let mut reach = Reach::of(parts.clone());
            for (number, step) in order {
                let number = number % parts.len();
                let from = reach.at[number];
                let to = (from + step).min(parts[number].end);
                (from..to).for_each(|at| there[usize::try_from(at).unwrap()] = true);
                let (before, bytes) = reach.advance(number, to);
                let prefix = there.iter().take_while(|is_there| **is_there).count() as u64;
                prop_assert_eq!((before, bytes), (prefix, there.iter().filter(|is_there| **is_there).count() as u64));
            }
        }
    }
}
