//! Goes through every page of a transaction once, and notes where its keys and values lie.
//!
//! **Invariant:** whatever the bytes are, the work is at most proportional to them: a page is entered once, the
//! data of the elements of a page may not overlap, and depth is bounded. Checks are those of bbolt's own `Tx.Check`
//! (reached once, in order, not free) and of its page writer (data in the order of the elements).

use super::BoltError;
use super::meta::{Meta, PAGE_HEADER, u32_at, u64_at};

const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const FREELIST: u16 = 0x10;
const ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;
/// Branch pages above a leaf plus buckets around a bucket; BuildKit's own files stay below 20.
const DEEPEST: usize = 100;

/// Where bytes lie in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    start: u32,
    length: u32,
}

impl Range {
    fn new(start: usize, length: usize) -> Option<Range> {
        Some(Range { start: u32::try_from(start).ok()?, length: u32::try_from(length).ok()? })
    }

    /// The bytes themselves.
    pub(super) fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(self.start as usize..(self.start as usize).checked_add(self.length as usize)?)
    }
}

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

/// A bucket: its items in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) items: Vec<Item>,
}

/// Reads all buckets of a transaction; the first is the root.
pub(super) fn walk(bytes: &[u8], meta: &Meta) -> Result<Vec<Node>, BoltError> {
    let missing = BoltError::Torn { page: meta.high_water, what: "the file ends before its last page" };
    let Some(in_use) = usize::try_from(meta.bytes_in_use()).ok().and_then(|end| bytes.get(..end)) else {
        return Err(missing);
    };
    if u32::try_from(in_use.len()).is_err() {
        return Err(BoltError::Torn { page: meta.high_water, what: "larger than 4 GiB" });
    }
    let pages = in_use.len() / meta.page_size;
    let mut walk = Walk { bytes: in_use, page_size: meta.page_size, seen: vec![false; pages], buckets: Vec::new() };
    walk.bucket(meta.root, 0)?;
    if let Some(freelist) = meta.freelist {
        walk.freelist(freelist)?;
    }
    Ok(walk.buckets)
}

/// A page, or the page image of an inline bucket.
#[derive(Clone, Copy)]
struct Page<'b> {
    /// For messages.
    number: u64,
    /// Header and data.
    bytes: &'b [u8],
    /// Where it starts in the file.
    start: usize,
    count: usize,
    flags: u16,
}

/// The keys a page may have: from the first (inclusive) to the second (exclusive).
#[derive(Clone, Copy, Default)]
struct Bounds<'b> {
    from: Option<&'b [u8]>,
    to: Option<&'b [u8]>,
}

struct Walk<'b> {
    bytes: &'b [u8],
    page_size: usize,
    /// Pages that were reached.
    seen: Vec<bool>,
    buckets: Vec<Node>,
}

impl<'b> Walk<'b> {
    fn bucket(&mut self, root: u64, depth: usize) -> Result<u32, BoltError> {
        let number = self.new_bucket(root)?;
        self.page(root, number, Bounds::default(), depth)?;
        Ok(number)
    }

    fn new_bucket(&mut self, page: u64) -> Result<u32, BoltError> {
        let number = u32::try_from(self.buckets.len());
        self.buckets.push(Node::default());
        number.map_err(|_| BoltError::Torn { page, what: "too many buckets" })
    }

    /// Claims a page with its overflow pages.
    fn claim(&mut self, number: u64) -> Result<Page<'b>, BoltError> {
        let torn = |what| BoltError::Torn { page: number, what };
        let outside = || torn("a reference to a page outside the file");
        let index = usize::try_from(number).map_err(|_| outside())?;
        if index < 2 || index >= self.seen.len() {
            return Err(outside());
        }
        let start = index * self.page_size;
        let header = &self.bytes[start..];
        if u64_at(header, 0) != Some(number) {
            return Err(torn("the page says it is another one"));
        }
        let overflow = u32_at(header, 12).ok_or_else(outside)? as usize;
        let end = index.saturating_add(overflow).saturating_add(1);
        let seen = self.seen.get_mut(index..end).ok_or_else(|| torn("the page reaches beyond the file"))?;
        if seen.iter().any(|seen| *seen) {
            return Err(torn("the page is used twice"));
        }
        seen.fill(true);
        let bytes = self.bytes.get(start..end * self.page_size).ok_or_else(outside)?;
        page_in(bytes, number, start).ok_or_else(outside)
    }

    fn page(&mut self, number: u64, bucket: u32, bounds: Bounds<'b>, depth: usize) -> Result<(), BoltError> {
        let torn = |what| BoltError::Torn { page: number, what };
        if depth > DEEPEST {
            return Err(torn("nested too deeply"));
        }
        let page = self.claim(number)?;
        match page.flags {
            LEAF => self.leaf(page, bucket, bounds, depth),
            BRANCH if page.count > 0 => self.branch(page, bucket, bounds, depth),
            BRANCH => Err(torn("a branch page without children")),
            _ => Err(torn("neither a branch nor a leaf page")),
        }
    }

    fn branch(&mut self, page: Page<'b>, bucket: u32, bounds: Bounds<'b>, depth: usize) -> Result<(), BoltError> {
        let torn = |what| BoltError::Torn { page: page.number, what };
        let mut children = Vec::with_capacity(page.count.min(page.bytes.len() / ELEMENT));
        let mut free = page.data_start();
        for element in page.elements() {
            let key_at = element.checked_add(page.u32(element)? as usize).ok_or_else(|| torn("overflow"))?;
            let key = page.slice(key_at, page.u32(element + 4)? as usize, &mut free)?;
            let child = u64_at(page.bytes, element + 8).ok_or_else(|| torn("an element beyond the page"))?;
            children.push((key, child));
        }
        let mut previous = None;
        for (at, (key, child)) in children.iter().enumerate() {
            page.ordered(key, previous, bounds)?;
            previous = Some(*key);
            let to = children.get(at + 1).map(|(key, _)| *key).or(bounds.to);
            self.page(*child, bucket, Bounds { from: Some(key), to }, depth + 1)?;
        }
        Ok(())
    }

    fn leaf(&mut self, page: Page<'b>, bucket: u32, bounds: Bounds<'b>, depth: usize) -> Result<(), BoltError> {
        let torn = |what| BoltError::Torn { page: page.number, what };
        let mut free = page.data_start();
        let mut previous = None;
        for element in page.elements() {
            let flags = page.u32(element)?;
            let key_at = element.checked_add(page.u32(element + 4)? as usize).ok_or_else(|| torn("overflow"))?;
            let key_length = page.u32(element + 8)? as usize;
            let value_length = page.u32(element + 12)? as usize;
            let key = page.slice(key_at, key_length, &mut free)?;
            let value_at = key_at + key_length;
            let value = page.slice(value_at, value_length, &mut free)?;
            page.ordered(key, previous, bounds)?;
            previous = Some(key);
            let entry = match flags {
                0 => Range::new(page.start + value_at, value_length).map(Entry::Value),
                1 => Some(Entry::Bucket(self.bucket_in(page, value_at, value, depth)?)),
                _ => return Err(torn("an element of unknown kind")),
            };
            let key = Range::new(page.start + key_at, key_length);
            let (Some(key), Some(entry)) = (key, entry) else { return Err(torn("an element beyond 4 GiB")) };
            if let Some(node) = self.buckets.get_mut(bucket as usize) {
                node.items.push(Item { key, entry });
            }
        }
        Ok(())
    }

    /// The bucket a leaf element holds: the number of its root page, or the page itself when it is small.
    fn bucket_in(&mut self, page: Page<'b>, at: usize, value: &'b [u8], depth: usize) -> Result<u32, BoltError> {
        let torn = |what| BoltError::Torn { page: page.number, what };
        let root = u64_at(value, 0).ok_or_else(|| torn("a bucket without a header"))?;
        if root != 0 {
            return self.bucket(root, depth + 1);
        }
        let image = value.get(BUCKET_HEADER..).unwrap_or_default();
        let inline = page_in(image, page.number, page.start + at + BUCKET_HEADER);
        let inline = inline.filter(|inline| inline.flags == LEAF).ok_or_else(|| torn("a broken inline bucket"))?;
        if depth > DEEPEST {
            return Err(torn("nested too deeply"));
        }
        let number = self.new_bucket(page.number)?;
        self.leaf(inline, number, Bounds::default(), depth + 1)?;
        Ok(number)
    }

    /// No page that is in use may be listed as free: the next writer would overwrite it.
    fn freelist(&mut self, number: u64) -> Result<(), BoltError> {
        let torn = |what| BoltError::Torn { page: number, what };
        let page = self.claim(number)?;
        if page.flags != FREELIST {
            return Err(torn("not a list of free pages"));
        }
        // A count that does not fit its 16 bits stands in front of the list.
        let (count, first) = match page.count {
            0xFFFF => (u64_at(page.bytes, PAGE_HEADER).and_then(|count| usize::try_from(count).ok()), PAGE_HEADER + 8),
            count => (Some(count), PAGE_HEADER),
        };
        let end = count.and_then(|count| count.checked_mul(8)?.checked_add(first));
        let list = end.and_then(|end| page.bytes.get(first..end)).ok_or_else(|| torn("a list beyond its page"))?;
        for at in (0..list.len()).step_by(8) {
            let free = u64_at(list, at).and_then(|free| usize::try_from(free).ok());
            match free.and_then(|free| self.seen.get_mut(free)) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(torn("a page is in use, and listed as free")),
            }
        }
        Ok(())
    }
}

fn page_in(bytes: &[u8], number: u64, start: usize) -> Option<Page<'_>> {
    let word = u32_at(bytes, 8)?;
    (bytes.len() >= PAGE_HEADER).then_some(())?;
    Some(Page { number, bytes, start, flags: (word & 0xFFFF) as u16, count: (word >> 16) as usize })
}

impl<'b> Page<'b> {
    fn torn(&self, what: &'static str) -> BoltError {
        BoltError::Torn { page: self.number, what }
    }

    fn elements(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.count).map(|at| PAGE_HEADER + at * ELEMENT)
    }

    fn data_start(&self) -> usize {
        PAGE_HEADER + self.count * ELEMENT
    }

    fn u32(&self, at: usize) -> Result<u32, BoltError> {
        u32_at(self.bytes, at).ok_or_else(|| self.torn("an element beyond its page"))
    }

    /// Bytes of an element; they may not begin before `free`, which moves behind them.
    fn slice(&self, at: usize, length: usize, free: &mut usize) -> Result<&'b [u8], BoltError> {
        if at < *free {
            return Err(self.torn("the elements of the page overlap"));
        }
        let end = at.checked_add(length).ok_or_else(|| self.torn("an element beyond its page"))?;
        *free = end;
        self.bytes.get(at..end).ok_or_else(|| self.torn("an element beyond its page"))
    }

    fn ordered(&self, key: &[u8], previous: Option<&[u8]>, bounds: Bounds<'_>) -> Result<(), BoltError> {
        let after_previous = previous.is_none_or(|previous| previous < key);
        let after_from = bounds.from.is_none_or(|from| from <= key);
        let before_to = bounds.to.is_none_or(|to| key < to);
        if after_previous && after_from && before_to { Ok(()) } else { Err(self.torn("keys out of order")) }
    }
}
