//! What is fetched, in which order and in which parts: pure decisions.

use std::ops::Range;

use crate::registry::Repository;

/// The smallest part a blob is fetched in, unless it is smaller itself.
const LEAST_PART: u64 = 8 << 20;
/// The largest one.
const MOST_PART: u64 = 16 << 20;

/// A blob that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    /// `sha256:…` of its bytes.
    pub(crate) digest: String,
    /// How many there are.
    pub(crate) size: u64,
    /// The digest of what it unpacks to, where nobody else compares that.
    pub(crate) diff_id: Option<String>,
    /// Who has it, in the order in which they are asked.
    pub(crate) places: Vec<Place>,
}

/// Who has a blob.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Where it lies.
    pub(crate) repository: Repository,
}

/// The blobs in the order in which they are begun: the largest first, so that no long one is left alone at the end.
pub(super) fn ordered(mut blobs: Vec<Blob>) -> Vec<Blob> {
    blobs.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
    blobs
}

/// How large the parts are when so many bytes come over so many connections: each has several, so that all end together, and
/// none is so small that asking for it takes long.
pub(super) fn part_size(total: u64, connections: usize) -> u64 {
    let each = total / u64::try_from(connections.saturating_mul(4)).unwrap_or(u64::MAX).max(1);
    each.clamp(LEAST_PART, MOST_PART)
}

/// The parts of a blob, in order.
pub(super) fn parts(size: u64, part: u64) -> Vec<Range<u64>> {
    let part = part.max(1);
    let starts = (0..size.div_ceil(part)).map(|number| number * part);
    starts.map(|start| start..start.saturating_add(part).min(size)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_blob_comes_first() {
        let blob = |digest: &str, size| Blob { digest: digest.to_owned(), size, diff_id: None, places: Vec::new() };
        let ordered = ordered(vec![blob("c", 1), blob("b", 9), blob("a", 1)]);
        assert_eq!(ordered.iter().map(|blob| blob.digest.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
    }

    #[test]
    fn parts_are_neither_too_small_nor_too_large() {
        assert_eq!(part_size(0, 16), LEAST_PART);
        assert_eq!(part_size(640 << 20, 16), 10 << 20);
        assert_eq!(part_size(u64::MAX, 0), MOST_PART);
    }

    proptest! {
        #[test]
        fn the_parts_of_a_blob_tile_it(size in 0..10_000u64, part in 0..500u64) {
            let mut next = 0;
            for range in parts(size, part) {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end > next);
                next = range.end;
            }
            prop_assert_eq!(next, size);
        }
    }
}
