//! Pointers of Git LFS: the text that git keeps in place of a large file (git-lfs, `docs/spec.md`).

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use git2::{AttrCheckFlags, ErrorCode, Repository};
use sha2::{Digest as _, Sha256};

use crate::{digest, foreign};

/// Bytes of the smallest and the largest pointer.
pub(crate) const POINTER_SIZES: std::ops::RangeInclusive<u64> = 100..=1024;
/// Bytes of a file that are hashed at a time.
const CHUNK_BYTES: usize = 128 * 1024;
const FIRST_LINE: &str = "version https://git-lfs.github.com/spec/v1";

/// A file that is only a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Pointer {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// `sha256:…` of what it stands for.
    digest: String,
    /// Its bytes.
    size: u64,
}

impl Pointer {
    fn parse(path: &Path, text: &[u8]) -> Option<Pointer> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        lines.next().filter(|line| *line == FIRST_LINE)?;
        let (mut digest, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", id) => digest = Some(id.to_owned()),
                ("size", bytes) => size = Some(bytes.parse().ok()?),
                _ => {}
            }
        }
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digest =
            digest.filter(|id| id.strip_prefix("sha256:").is_some_and(|it| it.len() == 64 && it.bytes().all(is_digit)));
        Some(Pointer { path: path.to_owned(), digest: digest?, size: size? })
    }

    /// Whether the file is what the pointer stands for by now.
    pub(super) fn is_filled(&self) -> bool {
        self.is_what_lies_there().unwrap_or_default()
    }

    fn is_what_lies_there(&self) -> io::Result<bool> {
        let mut file = foreign::open_regular(&self.path)?;
        if file.metadata()?.len() != self.size {
            return Ok(false);
        }
        let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(digest::written("sha256", &hash.finalize()) == self.digest),
                read => hash.update(&chunk[..read]),
            }
        }
    }
}

/// The pointers among files of which the attributes say that Git LFS keeps them. Where libgit2 cannot read the attributes,
/// the text alone tells.
pub(in crate::source) fn pointers(files: impl IntoIterator<Item = PathBuf>) -> Vec<Pointer> {
    let mut repositories: HashMap<PathBuf, Result<Repository, ErrorCode>> = HashMap::new();
    let mut found = Vec::new();
    for path in files {
        let text = foreign::read_regular(&path, *POINTER_SIZES.end());
        let Some(pointer) = text.ok().and_then(|text| Pointer::parse(&path, &text)) else { continue };
        let Some(parent) = path.parent() else { continue };
        let repository = repositories
            .entry(parent.to_owned())
            .or_insert_with(|| Repository::discover(parent).map_err(|error| error.code()));
        let is_kept = match repository {
            Ok(repository) => is_kept(repository, &path),
            Err(code) => *code != ErrorCode::NotFound,
        };
        if is_kept {
            found.push(pointer);
        }
    }
    found
}

fn is_kept(repository: &Repository, path: &Path) -> bool {
    let root = repository.workdir().and_then(|root| root.canonicalize().ok());
    let Some(below) = root.as_deref().and_then(|root| path.strip_prefix(root).ok()) else { return false };
    let filter = repository.get_attr(below, "filter", AttrCheckFlags::FILE_THEN_INDEX);
    filter.is_ok_and(|filter| filter == Some("lfs"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    #[test]
    fn a_pointer_is_told_from_other_text() {
        let parse = |text: &str| Pointer::parse(Path::new("/a"), text.as_bytes());
        let text = format!("{FIRST_LINE}\noid {ID}\nsize 12345\n");
        assert!(POINTER_SIZES.contains(&(text.len() as u64)));
        assert_eq!(parse(&text), Some(Pointer { path: "/a".into(), digest: ID.into(), size: 12345 }));
        let extended = format!("{FIRST_LINE}\next-0-x {ID}\noid {ID}\nsize 12345\n");
        assert!(parse(&extended).is_some());
        for other in [
            "",
            "x",
            FIRST_LINE,
            &text.replace("size", "sizes"),
            &text.replace("sha256:4d", "sha256:"),
            &text.replace("4d7a", "../x"),
            &text.replace("12345", "-1"),
            &format!("\n{text}"),
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_fills_its_pointer_with_the_very_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let pointer = Pointer { path: path.clone(), digest: digest::sha256("real"), size: 4 };
        assert!(!pointer.is_filled());
        for (text, filled) in [("real", true), ("rael", false), ("really", false)] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(pointer.is_filled(), filled, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in proptest::collection::vec(any::<u8>(), 0..200), rest in "[ -~\n]{0,200}") {
            let _ = Pointer::parse(Path::new("/a"), &text);
            let _ = Pointer::parse(Path::new("/a"), format!("{FIRST_LINE}\n{rest}").as_bytes());
        }
    }
}
