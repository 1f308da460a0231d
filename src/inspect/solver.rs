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
            self.damaged += usize::from(!is_key(source));
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
            self.damaged += usize::from(!is_key(name));
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
        digest: std::borrow::Cow<'s, str>,
        #[serde(rename = "Selector", borrow, default)]
        selector: std::borrow::Cow<'s, str>,
    }
    let at = link.iter().position(|byte| *byte == b'@')?;
    let (description, target) = (&link[..at], &link[at + 1..]);
    let link = serde_json::from_slice::<Link<'_>>(description).ok()?;
    let sound = is_digest(link.digest.as_bytes())
        && (link.selector.is_empty() || is_digest(link.selector.as_bytes()))
        && is_key(target);
    sound.then_some(target)
}

/// Whether these are the bytes of a cache key: an id that BuildKit drew, or a digest.
fn is_key(bytes: &[u8]) -> bool {
    let is_drawn = bytes.len() == 25 && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    is_drawn || is_digest(bytes)
}

/// Whether these are the bytes of a digest, or of what takes the place of one for a source of one session alone.
fn is_digest(bytes: &[u8]) -> bool {
    let hex = [(b"sha256:".as_slice(), 64), (b"random:", 64), (b"sha384:", 96), (b"sha512:", 128)];
    hex.into_iter().any(|(kind, length)| {
        let hex = bytes.strip_prefix(kind).filter(|hex| hex.len() == length);
        hex.is_some_and(|hex| hex.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_drawn_or_a_digest_to_the_last_digit() {
        let hex = "0123456789abcdef".repeat(4);
        for key in ["9awsstrin3x0str78pjxsjw8b", &format!("sha256:{hex}"), &format!("random:{hex}")] {
            assert!(is_key(key.as_bytes()), "{key}");
        }
        let cut = format!("sha256:{}", &hex[1..]);
        for wrong in
            ["", "9awsstrin3x0str78pjxsjw8B", "9aws", &format!("randnm:{hex}"), &cut, &format!("sha256:{}u", &hex[1..])]
        {
            assert!(!is_key(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_link_is_a_description_and_a_key() {
        let hex = "0123456789abcdef".repeat(4);
        let key = "9awsstrin3x0str78pjxsjw8b";
        let link = format!(r#"{{"Input":1,"Digest":"sha256:{hex}","Selector":"sha256:{hex}"}}@{key}"#);
        assert_eq!(target(link.as_bytes()), Some(key.as_bytes()));
        for wrong in [
            link.replace("abcdef\"}", "abcde>\"}"),
            link.replace('@', "#"),
            format!("{link}@{key}"),
            link.replace("9aws", ""),
        ] {
            assert_eq!(target(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
