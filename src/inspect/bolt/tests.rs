//! Laws of the reader, held against a database that bbolt 1.5 wrote: pages of 1024 bytes, branches over branches,
//! overflow pages, inline and empty buckets, and a list of free pages.

use std::cell::Cell;

use proptest::prelude::*;

use super::live::{Source, take_from};
use super::meta::{PAGE_HEADER, fnv1a};
use super::*;

const DEEP: &[u8] = include_bytes!("../../../tests/fixtures/bolt-deep.db");
const PAGE: usize = 1024;
const FIXTURES: [&[u8]; 5] = [
    DEEP,
    include_bytes!("../../../tests/fixtures/state-root/cache.db"),
    include_bytes!("../../../tests/fixtures/state-root/containerdmeta.db"),
    include_bytes!("../../../tests/fixtures/state-root/metadata_v2.db"),
    include_bytes!("../../../tests/fixtures/state-root/snapshots-metadata.db"),
];

fn key(number: usize) -> String {
    format!("key-{number:05}-{number:0200}")
}

/// Touches everything a database holds, and counts it.
fn read_all(bucket: Bucket<'_>) -> usize {
    bucket
        .items()
        .map(|(_, item)| match item {
            Item::Value(value) => 1 + value.len(),
            Item::Bucket(bucket) => 1 + read_all(bucket),
        })
        .sum()
}

/// Both meta pages of a database, changed and with a checksum that fits again.
fn with_metas(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for page in [0, PAGE] {
        let meta = &mut bytes[page + PAGE_HEADER..][..64];
        change(meta);
        let sum = fnv1a(&meta[..56]);
        meta[56..].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

#[test]
fn a_database_of_bbolt_reads_as_it_was_written() {
    let database = Database::from_bytes(DEEP.to_vec()).unwrap();
    let numbers = database.root().bucket(b"numbers").unwrap();
    let expected: Vec<_> = (0..30).filter(|n| n % 5 != 0).map(|n| (key(n), (n * n).to_string())).collect();
    let found: Vec<_> = numbers
        .values()
        .map(|(key, value)| (String::from_utf8(key.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap()))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(numbers.get(key(7).as_bytes()), Some(b"49".as_slice()));
    assert_eq!(numbers.get(key(5).as_bytes()), None);

    let nested = database.root().path(["nested"]).unwrap();
    assert_eq!(nested.path(["inline-3"]).unwrap().get(b"step"), Some(b"3".as_slice()));
    assert_eq!(nested.path(["inline-2"]).unwrap().get(b"nothing"), Some(b"".as_slice()));
    let big: Vec<u8> = (0..5000).map(|at| (at % 251) as u8).collect();
    assert_eq!(nested.get(b"big"), Some(big.as_slice()));
    assert_eq!(database.root().path(["empty"]).unwrap().items().count(), 0);
    assert!(nested.bucket(b"big").is_none() && nested.get(b"inline-1").is_none());
}

#[test]
fn without_its_first_meta_page_a_database_is_read_as_of_the_other() {
    for (lost, transaction) in [(0, 5), (PAGE, 6)] {
        let mut bytes = DEEP.to_vec();
        bytes[lost + PAGE_HEADER + 20] ^= 1;
        assert_eq!(meta::newest(&bytes).unwrap().transaction, transaction);
        if let Err(error) = Database::from_bytes(bytes) {
            // The pages of the transaction before may be in use again; that is seen, not read.
            assert!(transaction == 5 && matches!(error, BoltError::Torn { .. }), "{error}");
        }
    }
}

#[test]
fn what_is_not_a_database_is_called_so() {
    for bytes in [&b""[..], b"SQLite format 3", &[0; 8192], &DEEP[..40]] {
        assert!(matches!(Database::from_bytes(bytes.to_vec()), Err(BoltError::NotBolt)));
    }
}

#[test]
fn a_database_cut_at_any_page_is_torn() {
    for fixture in FIXTURES {
        for pages in 2..fixture.len() / PAGE {
            assert!(matches!(Database::from_bytes(fixture[..pages * PAGE].to_vec()), Err(BoltError::Torn { .. })));
        }
    }
}

#[test]
fn a_tree_that_leads_back_to_itself_is_torn() {
    let root_at = |page: u64| with_metas(DEEP, |meta| meta[16..24].copy_from_slice(&page.to_le_bytes()));
    // A branch page whose first child is the page itself.
    let mut cycle = root_at(24);
    let pos = PAGE_HEADER + 8;
    cycle[24 * PAGE..][pos..pos + 8].copy_from_slice(&24u64.to_le_bytes());
    assert!(matches!(Database::from_bytes(cycle), Err(BoltError::Torn { page: 24, what: "the page is used twice" })));
    assert!(matches!(Database::from_bytes(root_at(u64::MAX)), Err(BoltError::Torn { .. })));
}

#[test]
fn a_page_in_use_that_is_listed_as_free_is_torn() {
    let mut bytes = DEEP.to_vec();
    // The last page is the list of free pages; 31 is the page of the root bucket.
    bytes[32 * PAGE + PAGE_HEADER..][..8].copy_from_slice(&31u64.to_le_bytes());
    assert!(matches!(Database::from_bytes(bytes), Err(BoltError::Torn { page: 32, .. })));
}

/// Everything a database holds, in order.
fn dump(bucket: Bucket<'_>, found: &mut Vec<Vec<u8>>) {
    for (key, item) in bucket.items() {
        found.push(key.to_vec());
        match item {
            Item::Value(value) => found.push(value.to_vec()),
            Item::Bucket(bucket) => dump(bucket, found),
        }
    }
}

/// What is read page by page, and what of all pages at hand; nothing when it is refused.
fn both_ways(bytes: Vec<u8>) -> [Option<Vec<Vec<u8>>>; 2] {
    let by_page = Database::page_by_page(bytes.clone());
    [by_page, Database::from_bytes(bytes)].map(|database| {
        let mut found = Vec::new();
        dump(database.ok()?.root(), &mut found);
        Some(found)
    })
}

#[test]
fn what_is_read_page_by_page_is_the_same_and_a_small_part_of_the_file() {
    for fixture in FIXTURES {
        let [by_page, at_hand] = both_ways(fixture.to_vec());
        assert!(by_page.is_some() && by_page == at_hand);
    }
    let database = Database::page_by_page(FIXTURES[2].to_vec()).unwrap();
    assert!(database.bytes.len() * 2 < FIXTURES[2].len(), "{} of {}", database.bytes.len(), FIXTURES[2].len());
}

#[test]
fn buckets_that_are_not_asked_for_are_known_by_name_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    std::fs::write(&path, FIXTURES[2]).unwrap();
    let [whole, part] = [Database::open(&path), Database::open_but(&path, b"leases")].map(|database| database.unwrap());
    let of = |database: &Database, name: &str| {
        let mut found = Vec::new();
        dump(database.root().path(["v1", "buildkit", name]).unwrap(), &mut found);
        found
    };
    assert_eq!(of(&whole, "content"), of(&part, "content"));
    assert_eq!(of(&whole, "snapshots"), of(&part, "snapshots"));
    let names = |database: &Database| {
        let leases = database.root().path(["v1", "buildkit", "leases"]).unwrap();
        leases.buckets().map(|(name, _)| name.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!((names(&whole), names(&part)), (names(&whole), of(&part, "leases")));
    assert!(part.bytes.len() < whole.bytes.len());
}

#[test]
fn what_is_not_kept_has_to_be_sound_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    for at in (0..FIXTURES[2].len()).step_by(37) {
        let mut bytes = FIXTURES[2].to_vec();
        bytes[at] ^= 0x20;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Database::open(&path).is_ok(), Database::open_but(&path, b"leases").is_ok(), "byte {at}");
    }
}

/// A file on which transactions are committed while it is read.
struct Restless {
    /// Commits after the first read, after the second, and so on, over and over.
    commits: [u64; 3],
    reads: Cell<usize>,
    transaction: Cell<u64>,
}

impl Restless {
    fn with(commits: [u64; 3]) -> Restless {
        Restless { commits, reads: Cell::new(0), transaction: Cell::new(50) }
    }
}

impl Source for Restless {
    fn first(&self, length: u64) -> std::io::Result<Vec<u8>> {
        let read = self.reads.replace(self.reads.get() + 1);
        let transaction = self.transaction.replace(self.transaction.get() + self.commits[read % 3]);
        let newest: Vec<u8> = DEEP[PAGE_HEADER..][..64].to_vec();
        let bytes = with_metas(DEEP, |meta| {
            meta.copy_from_slice(&newest);
            meta[48..56].copy_from_slice(&transaction.to_le_bytes());
        });
        Ok(bytes[..bytes.len().min(length as usize)].to_vec())
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let at = at as usize;
        buffer.copy_from_slice(&DEEP[at..at + buffer.len()]);
        Ok(())
    }

    fn length(&self) -> std::io::Result<u64> {
        Ok(DEEP.len() as u64)
    }
}

#[test]
fn an_image_is_of_the_transaction_that_was_current_when_it_was_begun() {
    for commits in [[0, 0, 0], [1, 0, 0], [0, 1, 0]] {
        let image = take_from(&Restless::with(commits)).unwrap();
        assert_eq!(meta::newest(image.bytes()).unwrap().transaction, 50);
        assert!(Database::from_bytes(image.bytes().to_vec()).is_ok());
    }
}

#[test]
fn an_image_is_taken_again_when_two_commits_came_between() {
    assert!(matches!(take_from(&Restless::with([1, 1, 0])), Err(BoltError::Busy)));
}

#[test]
fn a_file_is_read_and_a_missing_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    assert!(matches!(Database::open(&path), Err(BoltError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound));
    std::fs::write(&path, [DEEP, &[7; 9000]].concat()).unwrap();
    let image = Image::take(&path).unwrap();
    assert_eq!((image.bytes(), image.length), (DEEP, DEEP.len() as u64 + 9000));
    std::fs::write(&path, &DEEP[..20 * PAGE]).unwrap();
    assert!(matches!(Database::open(&path), Err(BoltError::Torn { .. })));
}

#[test]
fn nothing_is_read_where_a_database_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    for fixture in FIXTURES {
        let mut bytes = [fixture, &[7; 9000]].concat();
        std::fs::write(&path, &bytes).unwrap();
        let parts = Database::unused(&path).unwrap();
        assert!(parts.windows(2).all(|two| two[0].end < two[1].start));
        let rest = parts.last().unwrap();
        assert!(rest.start <= fixture.len() as u64 && rest.end == bytes.len() as u64);
        let before = both_ways(bytes.clone());
        for part in &parts {
            bytes[part.start as usize..part.end as usize].fill(0xA5);
        }
        assert_eq!(both_ways(bytes.clone()), before);
        // What it says of itself is all there is: the pages that are left are in use.
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Database::unused(&path).unwrap(), parts);
    }
    // Twenty pages of this one are free.
    std::fs::write(&path, DEEP).unwrap();
    assert!(!Database::unused(&path).unwrap().is_empty());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(Database::from_bytes(bytes).is_err());
    }

    #[test]
    fn bits_that_flip_anywhere_never_panic(
        fixture in 0..FIXTURES.len(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..20),
    ) {
        let mut bytes = FIXTURES[fixture].to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let [by_page, at_hand] = both_ways(bytes.clone());
        prop_assert_eq!(by_page, at_hand);
        if let Ok(database) = Database::from_bytes(bytes) {
            prop_assert!(read_all(database.root()) < 10 * FIXTURES[fixture].len());
        }
    }

    #[test]
    fn page_headers_and_elements_of_any_value_never_panic(
        fixture in 0..FIXTURES.len(),
        words in proptest::collection::vec((any::<prop::sample::Index>(), 0..16usize, any::<u32>()), 1..8),
    ) {
        let mut bytes = FIXTURES[fixture].to_vec();
        let pages = bytes.len() / PAGE;
        for (page, word, value) in words {
            // Small values are likelier to lead somewhere.
            let value = if value % 2 == 0 { value % 64 } else { value };
            bytes[page.index(pages) * PAGE + word * 4..][..4].copy_from_slice(&value.to_le_bytes());
        }
        let [by_page, at_hand] = both_ways(bytes.clone());
        prop_assert_eq!(by_page, at_hand);
        if let Ok(database) = Database::from_bytes(bytes) {
            prop_assert!(read_all(database.root()) < 10 * FIXTURES[fixture].len());
        }
    }
}

/// A compaction puts a copy in the place of a database, with transactions that count from the beginning again.
#[test]
fn a_database_that_another_one_took_the_place_of_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("cache.db"), folder.path().join("cache.db.compact"));
    std::fs::write(&path, FIXTURES[1]).unwrap();
    let before = Database::version(&path).unwrap();
    let mut looks = 0;
    live::current(&path, |_| {
        looks += 1;
        if looks == 1 {
            std::fs::write(&copy, FIXTURES[2]).unwrap();
            std::fs::rename(&copy, &path).unwrap();
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(looks, 2);
    assert_ne!(Database::version(&path).unwrap(), before);
}
