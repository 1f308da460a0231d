//! Goes through every page of a transaction once, and notes where its keys and values lie.
//!
//! **Invariant:** whatever the bytes are, the work is at most proportional to them: a page is entered once, the
//! data of the elements of a page may not overlap, and depth is bounded. Checks are those of bbolt's own `Tx.Check`
//! (reached once, in order, not free) and of its page writer (data in the order of the elements).

use super::BoltError;
use super::meta::{Meta, PAGE_HEADER};
use super::pages::{BRANCH, FREELIST, LEAF, Page, Pages, Range};

const BUCKET_HEADER: usize = 16;
/// Branch pages above a leaf plus buckets around a bucket; BuildKit's own files stay below 20.
const DEEPEST: usize = 100;

/// What stands behind a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    /// A value.
    Value(Range),
    /// The number of a bucket.
    Bucket(u32),
}

/// A key with what stands behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) key: Range,
    pub(super) entry: Entry,
}

/// All buckets of a database.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// The items of all buckets, those of one bucket together and in the order of their keys.
    items: Vec<Item>,
    /// Where each bucket's items begin, and how many there are.
    places: Vec<(u32, u32)>,
}

impl Buckets {
    /// The items of a bucket, in the order of their keys.
    pub(super) fn items(&self, number: usize) -> &[Item] {
        let place = self.places.get(number).map(|(start, count)| *start as usize..*start as usize + *count as usize);
        place.and_then(|place| self.items.get(place)).unwrap_or_default()
    }
}

/// Reads all buckets of a transaction; the first is the root. Gives the bytes that they point into. The buckets in a
/// bucket of the name `shallow` are walked through like all others, and count as empty.
pub(super) fn walk(
    pages: Pages<'_>,
    meta: &Meta,
    shallow: Option<&'static [u8]>,
) -> Result<(Vec<u8>, Buckets), BoltError> {
    let walk = Walk::through(pages, meta, shallow)?;
    Ok((walk.pages.into_bytes(), walk.buckets))
}

/// The numbers of the pages below the high-water mark that the transaction does not use, in their order.
pub(super) fn unused(pages: Pages<'_>, meta: &Meta) -> Result<Vec<u64>, BoltError> {
    Ok(Walk::through(pages, meta, None)?.pages.unreached().collect())
}

/// The keys a page may have: from the first (inclusive) to the second (exclusive).
#[derive(Clone, Copy, Default)]
struct Bounds {
    from: Option<Range>,
    to: Option<Range>,
}

struct Walk<'s> {
    pages: Pages<'s>,
    buckets: Buckets,
    /// The items so far of the bucket that is being read, behind those of the buckets around it.
    unfinished: Vec<Item>,
    /// The name of buckets of whose buckets nothing is kept.
    shallow: Option<&'static [u8]>,
    /// Whether what is in buckets is kept just now.
    keeping: bool,
}

impl<'s> Walk<'s> {
    fn through(pages: Pages<'s>, meta: &Meta, shallow: Option<&'static [u8]>) -> Result<Walk<'s>, BoltError> {
        let mut walk = Walk { pages, buckets: Buckets::default(), unfinished: Vec::new(), shallow, keeping: true };
        walk.bucket(meta.root, 0)?;
        if let Some(freelist) = meta.freelist {
            walk.freelist(freelist)?;
        }
        Ok(walk)
    }

    fn bucket(&mut self, root: u64, depth: usize) -> Result<u32, BoltError> {
        let begun = self.unfinished.len();
        let number = self.new_bucket(root)?;
        self.page(root, Bounds::default(), depth)?;
        self.finish(number, begun);
        Ok(number)
    }

    /// Notes the items that were read since the bucket was begun.
    fn finish(&mut self, number: u32, begun: usize) {
        let start = self.buckets.items.len() as u32;
        self.buckets.items.extend(self.unfinished.drain(begun..));
        if let Some(place) = self.buckets.places.get_mut(number as usize) {
            *place = (start, self.buckets.items.len() as u32 - start);
        }
    }

    fn new_bucket(&mut self, page: u64) -> Result<u32, BoltError> {
        let number = u32::try_from(self.buckets.places.len());
        self.buckets.places.push((0, 0));
        number.map_err(|_| BoltError::Torn { page, what: "too many buckets" })
    }

    fn page(&mut self, number: u64, bounds: Bounds, depth: usize) -> Result<(), BoltError> {
        let torn = |what| BoltError::Torn { page: number, what };
        if depth > DEEPEST {
            return Err(torn("nested too deeply"));
        }
        let page = self.pages.claim(number)?;
        match page.flags {
            LEAF => self.leaf(page, bounds, depth),
            BRANCH if page.count > 0 => self.branch(page, bounds, depth),
            BRANCH => Err(torn("a branch page without children")),
            _ => Err(torn("neither a branch nor a leaf page")),
        }
    }

    fn branch(&mut self, page: Page, bounds: Bounds, depth: usize) -> Result<(), BoltError> {
        let mut children = Vec::with_capacity(page.count.min(page.most_elements()));
        let mut free = page.data_start();
        for element in page.elements() {
            let (pos, length) = (self.pages.u32(page, element)?, self.pages.u32(page, element + 4)?);
            let key = page.slice(element, pos, length, &mut free)?;
            let child = self.pages.u64(page, element + 8)?;
            children.push((key, child));
        }
        let mut previous = None;
        for (at, (key, child)) in children.iter().enumerate() {
            self.ordered(page, *key, previous, bounds)?;
            previous = Some(*key);
            let to = children.get(at + 1).map(|(key, _)| *key).or(bounds.to);
            self.page(*child, Bounds { from: Some(*key), to }, depth + 1)?;
        }
        self.ends(page, previous, bounds)
    }

    fn leaf(&mut self, page: Page, bounds: Bounds, depth: usize) -> Result<(), BoltError> {
        let mut free = page.data_start();
        let mut previous = None;
        for element in page.elements() {
            let flags = self.pages.u32(page, element)?;
            let pos = self.pages.u32(page, element + 4)?;
            let key_length = self.pages.u32(page, element + 8)?;
            let value_length = self.pages.u32(page, element + 12)?;
            let key = page.slice(element, pos, key_length, &mut free)?;
            let value = page.slice(free, 0, value_length, &mut free)?;
            self.ordered(page, key, previous, bounds)?;
            previous = Some(key);
            let entry = match flags {
                0 => Entry::Value(value),
                1 if !self.keeping => Entry::Bucket(self.walked_through(page, value, depth)?),
                1 => {
                    self.keeping = self.shallow.is_none_or(|name| self.pages.bytes(key) != name);
                    let bucket = self.bucket_in(page, value, depth)?;
                    self.keeping = true;
                    Entry::Bucket(bucket)
                }
                _ => return Err(page.torn("an element of unknown kind")),
            };
            self.unfinished.push(Item { key, entry });
        }
        self.ends(page, previous, bounds)
    }

    /// The bucket a leaf element holds: the number of its root page, or the page itself when it is small.
    fn bucket_in(&mut self, page: Page, value: Range, depth: usize) -> Result<u32, BoltError> {
        let root = self.pages.u64_in(value).ok_or_else(|| page.torn("a bucket without a header"))?;
        if root != 0 {
            return self.bucket(root, depth + 1);
        }
        let inline = value.skip(BUCKET_HEADER).and_then(|image| self.pages.inline(page, image));
        let inline = inline.filter(|inline| inline.flags == LEAF).ok_or_else(|| page.torn("a broken inline bucket"))?;
        if depth > DEEPEST {
            return Err(page.torn("nested too deeply"));
        }
        let begun = self.unfinished.len();
        let number = self.new_bucket(page.number)?;
        self.leaf(inline, Bounds::default(), depth + 1)?;
        self.finish(number, begun);
        Ok(number)
    }

    /// A bucket that is sound and of which nothing is kept.
    fn walked_through(&mut self, page: Page, value: Range, depth: usize) -> Result<u32, BoltError> {
        let kept = (self.pages.kept(), self.buckets.items.len(), self.buckets.places.len());
        self.bucket_in(page, value, depth)?;
        self.pages.forget(kept.0);
        self.buckets.items.truncate(kept.1);
        self.buckets.places.truncate(kept.2);
        self.new_bucket(page.number)
    }

    /// No page that is in use may be listed as free: the next writer would overwrite it.
    fn freelist(&mut self, number: u64) -> Result<(), BoltError> {
        let page = self.pages.claim(number)?;
        if page.flags != FREELIST {
            return Err(page.torn("not a list of free pages"));
        }
        // A count that does not fit its 16 bits stands in front of the list.
        let (count, first) = match page.count {
            0xFFFF => (usize::try_from(self.pages.u64(page, PAGE_HEADER)?).ok(), PAGE_HEADER + 8),
            count => (Some(count), PAGE_HEADER),
        };
        let beyond = || page.torn("a list beyond its page");
        let count = count.filter(|count| *count <= page.length / 8).ok_or_else(beyond)?;
        for at in 0..count {
            let free = self.pages.u64(page, first + at * 8).map_err(|_| beyond())?;
            if !self.pages.mark_free(free) {
                return Err(page.torn("a page is in use, and listed as free"));
            }
        }
        Ok(())
    }

    /// Whether a key comes after the one before it, or, when it is the first of its page, not before the page's range.
    fn ordered(&self, page: Page, key: Range, previous: Option<Range>, bounds: Bounds) -> Result<(), BoltError> {
        let bytes = |range: Range| self.pages.bytes(range);
        let in_order = match (previous, bounds.from) {
            (Some(previous), _) => bytes(previous) < bytes(key),
            (None, Some(from)) => bytes(from) <= bytes(key),
            (None, None) => true,
        };
        if in_order { Ok(()) } else { Err(page.torn("keys out of order")) }
    }

    /// Whether the last key of a page, and so every one, comes before the end of the page's range.
    fn ends(&self, page: Page, last: Option<Range>, bounds: Bounds) -> Result<(), BoltError> {
        let within = last.zip(bounds.to).is_none_or(|(last, to)| self.pages.bytes(last) < self.pages.bytes(to));
        if within { Ok(()) } else { Err(page.torn("keys out of order")) }
    }
}
