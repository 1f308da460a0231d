//! The files of a build's directories, as a manifest has them: a line an entry.
//!
//! A line is `TYPE MODE SIZE CONTENT PATH`: the type is `f`, `d`, `l` or `s` (file, directory, symbolic link, special);
//! the mode octal; the size in bytes; the content a hash's first digits, a link's target in JSON's spelling, or `-`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Context, Manifest};
use crate::buildkit::{EntryKind, Fingerprint, Local, Selection};
use crate::cancel::interrupted;

/// Entries of all contexts that are written down.
const MOST_ENTRIES: usize = 100_000;
/// Hexadecimal digits of a hash that are kept: 128 bits.
const HASH_DIGITS: usize = 32;

/// The entries of a context by their paths. Those below a path are together.
#[derive(Debug, Default)]
pub(crate) struct Files<'m>(BTreeMap<&'m str, Entry<'m>>);

/// What is written of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'m> {
    /// `f`, `d`, `l` or `s`.
    pub(crate) kind: &'m str,
    /// Octal.
    pub(crate) mode: &'m str,
    /// In bytes.
    pub(crate) size: &'m str,
    /// The hash of a file's content, or a link's target; `-` when it was not read.
    pub(crate) content: &'m str,
}

impl<'m> Files<'m> {
    /// Of a context; lines that are none of ours are passed over.
    pub(crate) fn of(context: &'m Context) -> Files<'m> {
        let entry = |line: &'m String| {
            let mut words = line.splitn(4, ' ');
            let (kind, mode, size) = (words.next()?, words.next()?, words.next()?);
            let rest = words.next()?;
            // A link's target may hold blanks; in quotes, it ends at the last one before the path's.
            let end = match rest.starts_with('"') {
                true => end_of_quoted(rest)?,
                false => rest.find(' ')?,
            };
            let (content, path) = (&rest[..end], rest.get(end + 1..)?);
            Some((path, Entry { kind, mode, size, content }))
        };
        Files(context.entries.iter().filter_map(entry).collect())
    }

    /// The entries, by path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'m str, Entry<'m>)> {
        self.0.iter().map(|(path, entry)| (*path, *entry))
    }

    /// One entry.
    pub(crate) fn get(&self, path: &str) -> Option<Entry<'m>> {
        self.0.get(path).copied()
    }
}

/// The place after the closing quote of a JSON string.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let closing = text.char_indices().skip(1).find(|(_, character)| {
        let closes = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        closes
    });
    closing.map(|(at, _)| at + 1)
}

/// Where the files of a context are.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The directory; none when nobody serves it.
    pub(crate) local: Option<Local>,
    /// Which of its files are wanted.
    pub(crate) selection: Selection,
    /// Whether the content of files is read.
    pub(crate) hashes: bool,
    /// Since when the build may have been sent them: what changed later may not be what it was sent.
    pub(crate) since: SystemTime,
}

impl Manifest {
    /// Reads the files of the contexts, which are at `sources`, in their order.
    ///
    /// # Errors
    /// When a directory or a file cannot be read, and when somebody ends the run.
    pub(crate) async fn fingerprinted(
        mut self,
        sources: Vec<Source>,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Manifest> {
        let cancel = cancel.clone();
        let read = tokio::task::spawn_blocking(move || self.fingerprint(&sources, &cancel).map(|()| self));
        read.await.context("reading the build's directories")?
    }

    fn fingerprint(&mut self, sources: &[Source], cancel: &CancellationToken) -> anyhow::Result<()> {
        let room = Cell::new(MOST_ENTRIES);
        // Targets of the same directory share what was read.
        let mut read: Vec<(&Source, &Local, usize)> = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            let Some(local) = &source.local else { continue };
            let same = |(other, directory, _): &&(&Source, &Local, usize)| {
                directory.path() == local.path() && other.selection == source.selection && other.hashes == source.hashes
            };
            if let Some((_, _, twin)) = read.iter().find(same) {
                let (entries, left_out) = (self.contexts[*twin].entries.clone(), self.contexts[*twin].left_out);
                (self.contexts[place].entries, self.contexts[place].left_out) = (entries, left_out);
                continue;
            }
            let (context, changed) = (&mut self.contexts[place], &mut self.changed);
            let hashes = |_: &str| source.hashes && room.get() > 0;
            let meanwhile = nanoseconds(source.since)..nanoseconds(SystemTime::now());
            local.fingerprint(&source.selection, hashes, |mut entry| {
                if cancel.is_cancelled() {
                    return Err(interrupted());
                }
                if entry.kind == EntryKind::File && meanwhile.contains(&entry.modified) {
                    entry.content.clear();
                    changed.push(entry.path.clone());
                }
                match room.get().checked_sub(1) {
                    Some(left) => {
                        room.set(left);
                        context.entries.push(line(&entry));
                    }
                    None => context.left_out += 1,
                }
                Ok(())
            })?;
            read.push((source, local, place));
        }
        Ok(())
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn line(entry: &Fingerprint) -> String {
    let kind = match entry.kind {
        EntryKind::File => 'f',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Special => 's',
    };
    let content = match (entry.kind, entry.content.strip_prefix("sha256:")) {
        (EntryKind::Symlink, _) => serde_json::Value::from(entry.content.as_str()).to_string(),
        (_, Some(digits)) => digits.chars().take(HASH_DIGITS).collect(),
        _ => "-".to_owned(),
    };
    let mut line = String::with_capacity(64 + entry.path.len());
    // Writing to a String cannot fail.
    let _ = write!(line, "{kind} {:04o} {} {content} {}", entry.mode, entry.size, entry.path);
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_of_an_entry_is_read_again(path in "[^\n]{1,20}", target in ".{0,20}", is_link in any::<bool>()) {
            let kind = if is_link { EntryKind::Symlink } else { EntryKind::File };
            let content = if is_link { target.clone() } else { "sha256:0123456789abcdef0123456789abcdef0123".to_owned() };
            let entry = Fingerprint { path: path.clone(), kind, mode: 0o644, size: 7, modified: 0, content };
            let context = Context { entries: vec![line(&entry)], ..Context::default() };
            let files = Files::of(&context);
            let read = files.get(&path).expect("it is there");
            prop_assert_eq!((read.kind, read.mode, read.size), (if is_link { "l" } else { "f" }, "0644", "7"));
            let spelled = serde_json::Value::from(target).to_string();
            prop_assert_eq!(read.content, if is_link { spelled.as_str() } else { "0123456789abcdef0123456789abcdef" });
        }

        #[test]
        fn no_line_is_too_odd(entries in proptest::collection::vec(any::<String>(), 0..4)) {
            let context = Context { entries, ..Context::default() };
            prop_assert!(Files::of(&context).iter().count() <= 4);
        }
    }
}
