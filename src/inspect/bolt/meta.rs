//! The two meta pages, and which of them counts.
//!
//! Transaction t writes page t % 2, so after a crash at least one of them is whole (bbolt `internal/common/meta.go`).

use super::BoltError;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes of a page header.
pub(super) const PAGE_HEADER: usize = 16;
const META: usize = 64;
/// The page sizes of the systems buildkitd runs on lie between these.
const SMALLEST_PAGE: usize = 1024;
const LARGEST_PAGE: usize = 64 * 1024;
/// The first bytes of a file, in which both meta pages lie.
pub(super) const HEAD: usize = 2 * LARGEST_PAGE;

/// A committed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Bytes of a page.
    pub(super) page_size: usize,
    /// The page of the root bucket.
    pub(super) root: u64,
    /// The page of the list of free pages, unless it was not stored.
    pub(super) freelist: Option<u64>,
    /// The first page that is not in use.
    pub(super) high_water: u64,
    /// The number of the transaction.
    pub(super) transaction: u64,
}

impl Meta {
    /// Bytes from the beginning of the file to the end of the last page in use.
    pub(super) fn bytes_in_use(&self) -> u64 {
        self.high_water.saturating_mul(self.page_size as u64)
    }
}

/// The number in the four bytes at a place.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The number in the eight bytes at a place.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The newest valid transaction of a database.
pub(super) fn newest(bytes: &[u8]) -> Result<Meta, BoltError> {
    valid(bytes).into_iter().flatten().max_by_key(|meta| meta.transaction).ok_or(BoltError::NotBolt)
}

/// Whether the newest valid transaction, and the one before it, have a list of free pages; absent where there is no such
/// transaction.
pub(super) fn freelists(bytes: &[u8]) -> [Option<bool>; 2] {
    let mut metas = valid(bytes);
    metas.sort_by_key(|meta| std::cmp::Reverse(meta.map(|meta| meta.transaction)));
    metas.map(|meta| meta.map(|meta| meta.freelist.is_some()))
}

fn valid(bytes: &[u8]) -> [Option<Meta>; 2] {
    let first = at(bytes, 0);
    let second = match first {
        Some(first) => at(bytes, first.page_size),
        // Without the first page the page size is unknown, and with it where the second page lies.
        None => page_sizes().find_map(|size| at(bytes, size).filter(|meta| meta.page_size == size)),
    };
    [first, second]
}

fn page_sizes() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(SMALLEST_PAGE), |size| Some(size * 2)).take_while(|size| *size <= LARGEST_PAGE)
}

fn at(bytes: &[u8], page: usize) -> Option<Meta> {
    let start = page.checked_add(PAGE_HEADER)?;
    let meta = bytes.get(start..start.checked_add(META)?)?;
    let sound = u32_at(meta, 0)? == MAGIC && u32_at(meta, 4)? == VERSION && u64_at(meta, 56)? == fnv1a(&meta[..56]);
    let page_size = u32_at(meta, 8)? as usize;
    if !sound || !page_sizes().any(|size| size == page_size) {
        return None;
    }
    Some(Meta {
        page_size,
        root: u64_at(meta, 16)?,
        freelist: Some(u64_at(meta, 32)?).filter(|page| *page != u64::MAX),
        high_water: u64_at(meta, 40)?,
        transaction: u64_at(meta, 48)?,
    })
}

/// FNV-1a with 64 bits, the checksum of a meta page.
pub(in crate::inspect) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}
