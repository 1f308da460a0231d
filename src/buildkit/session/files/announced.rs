//! What has been announced to the receiver, so that it can ask for content by number.
//!
//! **Invariant:** the numbers are the places in the announced list, from 0, every kind of entry counted. One entry
//! takes its base name and twelve bytes, so that a context of a hundred thousand files takes a few megabytes.

use anyhow::Context as _;

/// An entry's number. It has meaning to both sides of one transfer.
pub(super) type Number = u32;

/// The entry has no parent: it lies in the root.
pub(super) const ROOT: Number = Number::MAX;

/// What may be asked of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing: a directory, a symlink, a device, or content that was asked for already.
    None,
    /// The bytes of a file.
    File,
    /// No bytes: a socket is announced as an empty file.
    Empty,
}

/// All entries announced so far.
#[derive(Debug, Default)]
pub(super) struct Announced {
    names: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    parent: Number,
    name_end: u32,
    content: Content,
}

impl Announced {
    /// Adds an entry and gives it its number.
    ///
    /// # Errors
    /// When there are more entries or longer names than the protocol can number.
    pub(super) fn add(&mut self, parent: Number, name: &[u8], content: Content) -> anyhow::Result<Number> {
        let number = Number::try_from(self.entries.len()).ok().filter(|number| *number != ROOT);
        let number = number.context("there are too many files to send")?;
        self.names.extend_from_slice(name);
        let name_end = u32::try_from(self.names.len()).context("there are too many files to send")?;
        self.entries.push(Entry { parent, name_end, content });
        Ok(number)
    }

    /// The path of an entry; empty for a number that was never given.
    pub(super) fn path(&self, number: Number) -> Vec<u8> {
        let mut names = Vec::new();
        let mut next = number;
        // A parent is announced before its entries, so its number is smaller and this ends.
        while let Some(entry) = self.entries.get(next as usize) {
            let start = (next as usize).checked_sub(1).map_or(0, |before| self.entries[before].name_end);
            names.push(&self.names[start as usize..entry.name_end as usize]);
            next = entry.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Takes the receiver's request for the content of an entry; it can be asked for once.
    ///
    /// # Errors
    /// When there is no such content.
    pub(super) fn ask(&mut self, number: Number) -> anyhow::Result<(Content, Vec<u8>)> {
        let entry = self.entries.get_mut(number as usize);
        match entry.map(|entry| std::mem::replace(&mut entry.content, Content::None)) {
            None => anyhow::bail!("the builder asked for file {number}, which was never announced"),
            Some(Content::None) => anyhow::bail!("the builder asked for file {number}, which has no content to send"),
            Some(content) => Ok((content, self.path(number))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_number_and_asked_for_once() {
        let mut announced = Announced::default();
        let dir = announced.add(ROOT, b"dir", Content::None).expect("it fits");
        let sub = announced.add(dir, b"sub", Content::None).expect("it fits");
        let file = announced.add(sub, b"file", Content::File).expect("it fits");
        let top = announced.add(ROOT, b"top", Content::Empty).expect("it fits");
        assert_eq!((dir, sub, file, top), (0, 1, 2, 3));
        assert_eq!(announced.path(file), b"dir/sub/file");
        assert_eq!(announced.ask(file).expect("it is a file"), (Content::File, b"dir/sub/file".to_vec()));
        assert_eq!(announced.ask(top).expect("it is a socket"), (Content::Empty, b"top".to_vec()));
        for refused in [dir, sub, file, top, 4, ROOT] {
            assert!(announced.ask(refused).is_err(), "{refused}");
        }
    }
}
