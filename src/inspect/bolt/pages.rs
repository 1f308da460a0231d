//! The pages of a database: all of them at hand, or fetched from the file one by one as the walk comes to them.
//!
//! Most of a page is often empty (a nested bucket has one of its own), so of a page that is fetched only what it uses is
//! kept: a state root of ten thousand records has 130 MB of databases, and less than a tenth of that in them.

use super::BoltError;
use super::live::Source;
use super::meta::{Meta, PAGE_HEADER, u32_at, u64_at};

pub(super) const BRANCH: u16 = 1;
pub(super) const LEAF: u16 = 2;
pub(super) const FREELIST: u16 = 0x10;
const ELEMENT: usize = 16;
/// The pages in front, which say where the others begin.
const METAS: usize = 2;

/// Where bytes lie among those that were kept.
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

    /// All but the first bytes.
    pub(super) fn skip(self, count: usize) -> Option<Range> {
        Range::new(self.start as usize + count, (self.length as usize).checked_sub(count)?)
    }
}

/// A page, or the page image of an inline bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    /// For messages.
    pub(super) number: u64,
    /// Where its header lies among the bytes that were kept.
    start: usize,
    /// Bytes of header and data.
    pub(super) length: usize,
    pub(super) count: usize,
    pub(super) flags: u16,
}

/// What a page is to the transaction, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Unknown,
    Reached,
    Free,
}

/// The pages up to the last one in use.
pub(super) struct Pages<'s> {
    /// Where pages are fetched from; absent when all of them are at hand.
    source: Option<&'s dyn Source>,
    page_size: usize,
    /// What each page is.
    uses: Vec<Use>,
    bytes: Vec<u8>,
    /// The page that is being fetched.
    fetched: Vec<u8>,
}

impl<'s> Pages<'s> {
    /// All pages at hand.
    pub(super) fn at_hand(bytes: Vec<u8>, meta: &Meta) -> Result<Pages<'s>, BoltError> {
        Pages::new(None, bytes.len() as u64, bytes, meta)
    }

    /// Pages to be fetched.
    pub(super) fn of(source: &'s dyn Source, meta: &Meta) -> Result<Pages<'s>, BoltError> {
        Pages::new(Some(source), source.length()?, Vec::new(), meta)
    }

    fn new(source: Option<&'s dyn Source>, length: u64, bytes: Vec<u8>, meta: &Meta) -> Result<Pages<'s>, BoltError> {
        let torn = |what| BoltError::Torn { page: meta.high_water, what };
        if length < meta.bytes_in_use() {
            return Err(torn("the file ends before its last page"));
        }
        let in_use = u32::try_from(meta.bytes_in_use()).map_err(|_| torn("larger than 4 GiB"))? as usize;
        let uses = vec![Use::Unknown; in_use / meta.page_size];
        Ok(Pages { source, page_size: meta.page_size, uses, bytes, fetched: Vec::new() })
    }

    /// The bytes that ranges point into.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bytes are kept so far.
    pub(super) fn kept(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was fetched since so many bytes were kept. Pages at hand stay at hand.
    pub(super) fn forget(&mut self, kept: usize) {
        if self.source.is_some() {
            self.bytes.truncate(kept);
        }
    }

    /// The bytes of a range.
    pub(super) fn bytes(&self, range: Range) -> &[u8] {
        range.of(&self.bytes).unwrap_or_default()
    }

    /// The number of eight bytes that a range begins with.
    pub(super) fn u64_in(&self, range: Range) -> Option<u64> {
        u64_at(self.bytes(range), 0)
    }

    /// The number in four bytes of a page.
    pub(super) fn u32(&self, page: Page, at: usize) -> Result<u32, BoltError> {
        page.within(at, 4)?;
        u32_at(&self.bytes, page.start + at).ok_or_else(|| page.torn(BEYOND))
    }

    /// The number in eight bytes of a page.
    pub(super) fn u64(&self, page: Page, at: usize) -> Result<u64, BoltError> {
        page.within(at, 8)?;
        u64_at(&self.bytes, page.start + at).ok_or_else(|| page.torn(BEYOND))
    }

    /// Notes that a page is free; no when it was reached, or is free already.
    pub(super) fn mark_free(&mut self, number: u64) -> bool {
        let page = usize::try_from(number).ok().and_then(|number| self.uses.get_mut(number));
        page.is_some_and(|page| std::mem::replace(page, Use::Free) == Use::Unknown)
    }

    /// The numbers of the pages that were not reached, apart from the two meta pages.
    pub(super) fn unreached(&self) -> impl Iterator<Item = u64> {
        let uses = self.uses.iter().enumerate().skip(METAS);
        uses.filter(|(_, page)| **page != Use::Reached).map(|(number, _)| number as u64)
    }

    /// Takes a page with its overflow pages; each can be taken once.
    pub(super) fn claim(&mut self, number: u64) -> Result<Page, BoltError> {
        let torn = |what| BoltError::Torn { page: number, what };
        let outside = || torn("a reference to a page outside the file");
        let index = usize::try_from(number).map_err(|_| outside())?;
        if index < METAS || index >= self.uses.len() {
            return Err(outside());
        }
        let start = index * self.page_size;
        let header = match self.source {
            None => self.bytes.get(start..start + PAGE_HEADER).ok_or_else(outside)?,
            Some(source) => {
                self.fetched.resize(self.page_size, 0);
                source.read(start as u64, &mut self.fetched)?;
                &self.fetched[..PAGE_HEADER]
            }
        };
        if u64_at(header, 0) != Some(number) {
            return Err(torn("the page says it is another one"));
        }
        let overflow = u32_at(header, 12).ok_or_else(outside)? as usize;
        let end = index.saturating_add(overflow).saturating_add(1);
        let uses = self.uses.get_mut(index..end).ok_or_else(|| torn("the page reaches beyond the file"))?;
        if uses.iter().any(|page| *page != Use::Unknown) {
            return Err(torn("the page is used twice"));
        }
        uses.fill(Use::Reached);
        let length = (end - index) * self.page_size;
        let Some(source) = self.source else {
            return page_in(&self.bytes, number, start, length).ok_or_else(outside);
        };
        if overflow > 0 {
            self.fetched.resize(length, 0);
            source.read((start + self.page_size) as u64, &mut self.fetched[self.page_size..])?;
        }
        let used = used(&self.fetched);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&self.fetched[..used]);
        page_in(&self.bytes, number, start, used).ok_or_else(outside)
    }

    /// The page image in a value.
    pub(super) fn inline(&self, holder: Page, image: Range) -> Option<Page> {
        page_in(&self.bytes, holder.number, image.start as usize, image.length as usize)
    }
}

const BEYOND: &str = "an element beyond its page";

fn page_in(bytes: &[u8], number: u64, start: usize, length: usize) -> Option<Page> {
    (length >= PAGE_HEADER).then_some(())?;
    let word = u32_at(bytes, start + 8)?;
    Some(Page { number, start, length, flags: (word & 0xFFFF) as u16, count: (word >> 16) as usize })
}

/// How much of a page anything in it points to. What points beyond the page is found out when it is followed.
fn used(page: &[u8]) -> usize {
    let word = u32_at(page, 8).unwrap_or_default();
    let (flags, count) = ((word & 0xFFFF) as u16, (word >> 16) as usize);
    let end = |element: usize| {
        let field = |at: usize| u32_at(page, element + at).unwrap_or_default() as usize;
        match flags {
            LEAF => element.saturating_add(field(4)).saturating_add(field(8)).saturating_add(field(12)),
            _ => element.saturating_add(field(0)).saturating_add(field(4)),
        }
    };
    match flags {
        LEAF | BRANCH => {
            let elements = (0..count).map(|at| PAGE_HEADER + at * ELEMENT);
            let data = PAGE_HEADER + count * ELEMENT;
            elements.map(end).fold(data, usize::max).min(page.len())
        }
        _ => page.len(),
    }
}

impl Page {
    pub(super) fn torn(self, what: &'static str) -> BoltError {
        BoltError::Torn { page: self.number, what }
    }

    /// How many elements there is room for.
    pub(super) fn most_elements(self) -> usize {
        self.length / ELEMENT
    }

    /// Where the elements begin.
    pub(super) fn elements(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(|at| PAGE_HEADER + at * ELEMENT)
    }

    /// Where the elements end, and their data may begin.
    pub(super) fn data_start(self) -> usize {
        PAGE_HEADER + self.count * ELEMENT
    }

    fn within(self, at: usize, length: usize) -> Result<(), BoltError> {
        let end = at.checked_add(length).filter(|end| *end <= self.length);
        end.map(drop).ok_or_else(|| self.torn(BEYOND))
    }

    /// Bytes of an element, so far behind a place in the page; they may not begin before `free`, which moves behind them.
    pub(super) fn slice(self, place: usize, pos: u32, length: u32, free: &mut usize) -> Result<Range, BoltError> {
        let at = place.checked_add(pos as usize).ok_or_else(|| self.torn(BEYOND))?;
        if at < *free {
            return Err(self.torn("the elements of the page overlap"));
        }
        self.within(at, length as usize)?;
        *free = at + length as usize;
        Range::new(self.start + at, length as usize).ok_or_else(|| self.torn("an element beyond 4 GiB"))
    }
}
