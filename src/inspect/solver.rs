//! What the solver remembers: `cache.db`, its cache keys and the records they lead to.
//!
//! Source: `solver/bboltcachestorage/storage.go` of BuildKit. It keeps every fact twice, in one bucket for each way to
//! ask; where the two disagree, bytes were damaged.

use std::collections::HashSet;

use serde::Deserialize;

use super::bolt::{Bucket, Database};

/// A result of a cache key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheResult {
    /// The number of its key; results of one key have the same number.
    pub(crate) key: usize,
    /// The worker it is of.
    pub(crate) worker: String,
    /// The record that holds it; empty for a result without files.
    pub(crate) record: String,
}

/// The cache keys.
#[derive(Debug, Default)]
pub(crate) struct Solver {
    /// Whether there is a `cache.db`.
    pub(crate) present: bool,
    /// Cache keys.
    pub(crate) keys: usize,
    /// Links: from a key, by an operation, to the next key.
    pub(crate) links: usize,
    /// The results of all keys.
    pub(crate) results: Vec<CacheResult>,
    /// Entries that BuildKit cannot have written so: unreadable, or without the counterpart it writes with them.
    pub(crate) damaged: usize,
}

/// The value of a result, which repeats its key.
#[derive(Deserialize)]
struct Stored<'s> {
    #[serde(rename = "ID", borrow)]
    id: std::borrow::Cow<'s, str>,
}

impl Solver {
    /// Reads `cache.db`.
    pub(super) fn read(database: Option<&Database>) -> Solver {
        let Some(database) = database else { return Solver::default() };
        let bucket = |name: &str| database.root().bucket(name.as_bytes());
        let mut solver = Solver { present: true, ..Solver::default() };
        let (links, backlinks) = (bucket("_links"), bucket("_backlinks"));
        let (results, by_result) = (bucket("_result"), bucket("_byresult"));
        solver.read_links(links, backlinks);
        solver.read_results(results, by_result, links);
        solver
    }

    fn read_links(&mut self, links: Option<Bucket<'_>>, backlinks: Option<Bucket<'_>>) {
        let mut linked: HashSet<(&[u8], &[u8])> = HashSet::new();
        for (source, targets) in links.into_iter().flat_map(Bucket::buckets) {
            self.keys += 1;
            for (link, _) in targets.values() {
                self.links += 1;
                match target(link) {
                    Some(target) => {
                        linked.insert((target, source));
                    }
                    None => self.damaged += 1,
                }
            }
        }
        for (target, sources) in backlinks.into_iter().flat_map(Bucket::buckets) {
            for (source, _) in sources.items() {
                linked.remove(&(target, source));
            }
        }
        // A link that only one side knows; what the solver released may leave a backlink behind.
        self.damaged += linked.len();
    }

    fn read_results(&mut self, results: Option<Bucket<'_>>, by_result: Option<Bucket<'_>>, links: Option<Bucket<'_>>) {
        let mut counterparts: HashSet<(&[u8], &[u8])> = HashSet::new();
        for (id, keys) in by_result.into_iter().flat_map(Bucket::buckets) {
            counterparts.extend(keys.items().map(|(key, _)| (id, key)));
        }
        // Both are in the order of their keys, so that one walk beside the other finds each key.
        let mut reachable = links.into_iter().flat_map(Bucket::buckets).map(|(name, _)| name).peekable();
        for (key, (name, stored)) in results.into_iter().flat_map(Bucket::buckets).enumerate() {
            while reachable.next_if(|link| *link < name).is_some() {}
            let is_reachable = reachable.peek() == Some(&name);
            for (id, value) in stored.values() {
                let known = counterparts.remove(&(id, name));
                let text = std::str::from_utf8(id).ok();
                let repeated = serde_json::from_slice::<Stored<'_>>(value).ok().map(|stored| stored.id);
                let sound = known && is_reachable && repeated.as_deref() == text;
                match text.and_then(|text| text.split_once("::")).filter(|_| sound) {
                    Some((worker, record)) => {
                        self.results.push(CacheResult { key, worker: worker.to_owned(), record: record.to_owned() });
                    }
                    None => self.damaged += 1,
                }
            }
        }
        self.damaged += counterparts.len();
    }
}

/// The key a link leads to: what follows its description.
pub(super) fn target(link: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Link<'s> {
        #[serde(rename = "Digest", borrow)]
        _digest: std::borrow::Cow<'s, str>,
    }
    let at = link.iter().position(|byte| *byte == b'@')?;
    let (description, target) = (&link[..at], &link[at + 1..]);
    serde_json::from_slice::<Link<'_>>(description).ok()?;
    (!target.is_empty() && !target.contains(&b'@')).then_some(target)
}
