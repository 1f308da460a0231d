//! A part of a blob on its way here, for whoever fetches a blob in several parts at once.
//!
//! **Invariant:** what comes is, by the server's own word, what was asked for: the offsets and the size are held against the
//! request. Whether the bytes are right only the digest of all of them tells. Asks once; whoever asks knows when to ask again.

use std::ops::Range;

use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response};

use super::client::Repository;
use super::error::{Fault, RegistryError};
use super::exchange::{Answer, Want};

/// The bytes of a blob from an offset on.
#[derive(Debug)]
pub(crate) struct Part {
    host: String,
    response: Response,
    /// Bytes that come before those that were asked for.
    skip: u64,
    /// Bytes that are to be given yet.
    left: u64,
    is_whole: bool,
}

impl Repository {
    /// Asks for a part of a blob of `size` bytes: the mirrors in order and then the origin, as BuildKit does.
    pub(crate) async fn part(&self, digest: &str, size: u64, range: Range<u64>) -> Result<Part, RegistryError> {
        let want = Want::Part { start: range.start, end: range.end };
        let request = self.blob_request(Method::GET, digest, want);
        let mut worst: Option<RegistryError> = None;
        for endpoint in self.client.hosts.endpoints(&self.reference, self.insecure) {
            let answer = self.client.exchange.once(&endpoint, &request).await;
            match answer.and_then(|answer| Part::of(answer, size, &range)) {
                Ok(part) => return Ok(part),
                Err(error) if worst.as_ref().is_none_or(|worst| error.weight() > worst.weight()) => worst = Some(error),
                Err(_) => {}
            }
        }
        // The origin is always among the endpoints.
        Err(worst.unwrap_or_else(|| corrupt(self.reference.host(), "there is no host to ask".to_owned())))
    }

    /// The repository as people write it.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.reference.host(), self.reference.repository())
    }
}

impl Part {
    fn of(answer: Answer, size: u64, range: &Range<u64>) -> Result<Part, RegistryError> {
        let Answer { host, length, coming, .. } = answer;
        let response = coming.ok_or_else(|| corrupt(&host, "the answer has no body".to_owned()))?;
        let is_whole = response.status().as_u16() != 206;
        if is_whole {
            if let Some(length) = length.filter(|length| *length != size) {
                return Err(corrupt(&host, format!("the blob has {size} bytes, and the answer {length}")));
            }
            return Ok(Part { host, response, skip: range.start, left: size.saturating_sub(range.start), is_whole });
        }
        let text = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let told = content_range(text).filter(|(told, total)| {
            told.start == range.start && told.end <= range.end && total.is_none_or(|total| total == size)
        });
        let Some((told, _)) = told else {
            let shown: String = text.chars().filter(|character| !character.is_control()).take(80).collect();
            let wanted = format!("{}-{}/{size}", range.start, range.end.saturating_sub(1));
            return Err(corrupt(&host, format!("asked for the bytes {wanted}, and `{shown}` was announced")));
        };
        Ok(Part { host, response, skip: 0, left: told.end - told.start, is_whole })
    }

    /// Whether the server answered with all of the blob, because it knows no ranges. What comes before those that were asked
    /// for is passed over.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether all of it has come.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Who sends it: `HOST[:PORT]`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Adds what comes next; nothing when all of it has come.
    ///
    /// # Errors
    /// When it breaks off, or goes on beyond what was announced.
    pub(crate) async fn read_into(&mut self, bytes: &mut Vec<u8>) -> Result<(), RegistryError> {
        let before = bytes.len();
        while self.left > 0 && bytes.len() == before {
            let chunk = self.response.chunk().await.map_err(|error| RegistryError::of_network(&self.host, error))?;
            let Some(chunk) = chunk else {
                let cause = format!("the answer broke off {} bytes before its end", self.left);
                return Err(RegistryError::new(&self.host, Fault::Unreachable { cause, speaks_no_tls: false }));
            };
            let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= passed as u64;
            let rest = &chunk[passed..];
            self.left = self
                .left
                .checked_sub(rest.len() as u64)
                .ok_or_else(|| corrupt(&self.host, "more bytes than were announced".to_owned()))?;
            bytes.extend_from_slice(rest);
        }
        // A connection whose answer was read to its end can be used again.
        if self.left == 0 && !self.is_whole {
            let end = self.response.chunk().await.map_err(|error| RegistryError::of_network(&self.host, error))?;
            if end.is_some_and(|more| !more.is_empty()) {
                return Err(corrupt(&self.host, "more bytes than were announced".to_owned()));
            }
        }
        Ok(())
    }
}

fn corrupt(host: &str, what: String) -> RegistryError {
    RegistryError::new(host, Fault::Corrupt { what })
}

/// `bytes FIRST-LAST/TOTAL`, whose total may be `*` (RFC 9110).
fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let end = last.checked_add(1).filter(|end| *end > first)?;
    total.is_none_or(|total: u64| end <= total).then_some((first..end, total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_is_read_as_servers_write_it() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0..10, Some(100))));
        assert_eq!(content_range("bytes 5-5/*"), Some((5..6, None)));
        for wrong in ["", "bytes */100", "bytes 9-0/100", "bytes 0-100/100", "bytes 0-9", "0-9/100", "bytes -1-9/100"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(bytes )?[0-9*/ -]{0,30}|\\PC{0,40}") {
            if let Some((range, total)) = content_range(&text) {
                prop_assert!(range.start < range.end && total.is_none_or(|total| range.end <= total));
            }
        }
    }
}
