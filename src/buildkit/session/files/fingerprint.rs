//! What a builder would see of a directory, without a builder: every entry a build's selection lets through, with the
//! hash of its content.
//!
//! It walks and filters as a transfer does, so an entry that is here is one that BuildKit is sent.

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context as _;
use sha2::{Digest, Sha256};

use super::announced::Announced;
use super::directory::Directory;
use super::filter::{Above, Filter, Verdict};
use super::{Local, follow, walk, wire};
use crate::digest;

/// Bytes of a file that are hashed at a time.
const CHUNK_BYTES: usize = 128 * 1024;
/// Go's `os.ModeDir`, `ModeSymlink`, `ModeNamedPipe`, `ModeDevice`.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const PIPE: u32 = 1 << 25;
const DEVICE: u32 = 1 << 26;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file, or a socket, which is sent as an empty one.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device or a pipe.
    Special,
}

/// What BuildKit's content checksum takes in of an entry, extended attributes aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Its path below the directory; bytes that are no UTF-8 are replaced.
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: EntryKind,
    /// Its permission bits, as BuildKit is told them.
    pub(crate) mode: u32,
    /// Its size in bytes; that of a file.
    pub(crate) size: u64,
    /// When its content was changed last, in nanoseconds since 1970.
    pub(crate) modified: i64,
    /// `sha256:…` of a file's content, or a symbolic link's target; empty for the rest.
    pub(crate) content: String,
}

/// Which files of a directory of ours a build wants to see: the attributes of a `local://` source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    /// Only what matches; everything when absent.
    pub(crate) include: Option<Vec<String>>,
    /// Not what matches.
    pub(crate) exclude: Option<Vec<String>>,
    /// These too, with what their symlinks lead to.
    pub(crate) follow: Option<Vec<String>>,
}

impl Selection {
    fn filter(&self, directory: &Directory) -> anyhow::Result<Filter> {
        let bytes = |patterns: &Option<Vec<String>>| -> Option<Vec<Vec<u8>>> {
            Some(patterns.as_ref()?.iter().map(|pattern| pattern.clone().into_bytes()).collect())
        };
        let include = follow::include_patterns(directory, bytes(&self.include), bytes(&self.follow).as_deref())
            .with_context(|| format!("could not follow links in {}", directory.path.display()))?;
        Filter::new(include.as_deref(), bytes(&self.exclude).as_deref())
    }
}

impl Local {
    /// Whether a build that selects these files is sent what lies at a path in a directory of this one. What cannot be
    /// looked at is not sent.
    pub(crate) fn sends(&self, selection: &Selection, path: &str) -> bool {
        let Local(directory) = self;
        let Ok(filter) = selection.filter(directory) else { return false };
        let judged = Path::new(path).ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        let mut above = Above::default();
        for part in judged.collect::<Vec<_>>().into_iter().rev() {
            match filter.judge(part.as_os_str().as_bytes(), true, &above) {
                Ok((verdict, below)) if verdict != Verdict::Leave => above = below,
                _ => return false,
            }
        }
        let is_sent = filter.judge(path.as_bytes(), false, &above).is_ok_and(|(verdict, _)| verdict == Verdict::Send);
        is_sent && directory.path.join(path).symlink_metadata().is_ok()
    }

    /// Tells every entry of the directory that is selected, parents first. Reads the content of files for which `hashes`
    /// says so, a piece at a time.
    ///
    /// # Errors
    /// When the directory or something in it cannot be read, a pattern is wrong, or `tell` says stop.
    pub(crate) fn fingerprint(
        &self,
        selection: &Selection,
        hashes: impl Fn(&str) -> bool,
        mut tell: impl FnMut(Fingerprint) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Local(directory) = self;
        let filter = selection.filter(directory)?;
        let announced = Mutex::new(Announced::default());
        walk::walk_directory(directory, &filter, &announced, &mut |stat| {
            let path = String::from_utf8_lossy(&stat.path).into_owned();
            let kind = kind_of(stat.mode);
            let content = match kind {
                EntryKind::Symlink => String::from_utf8_lossy(&stat.link).into_owned(),
                EntryKind::File if hashes(&path) && filter.opens(&stat.path)? => self.hash(&stat)?,
                _ => String::new(),
            };
            tell(Fingerprint {
                path,
                kind,
                mode: stat.mode & 0o777,
                size: u64::try_from(stat.size).unwrap_or_default(),
                modified: stat.modified,
                content,
            })
        })
    }

    fn hash(&self, stat: &wire::Stat) -> anyhow::Result<String> {
        let Local(directory) = self;
        let shown = || format!("could not read {}/{}", directory.path.display(), String::from_utf8_lossy(&stat.path));
        let mut file = match directory.open_file(&stat.path) {
            Ok(file) => file,
            // A socket, or something that went away meanwhile: BuildKit would be sent nothing either.
            Err(error) if super::directory::leads_nowhere(&error) || stat.size == 0 => return Ok(String::new()),
            Err(error) => return Err(error).with_context(shown),
        };
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk).with_context(shown)? {
                0 => return Ok(digest::written("sha256", &hash.finalize())),
                read => hash.update(&chunk[..read]),
            }
        }
    }
}

fn kind_of(mode: u32) -> EntryKind {
    match mode {
        mode if mode & DIRECTORY != 0 => EntryKind::Directory,
        mode if mode & SYMLINK != 0 => EntryKind::Symlink,
        mode if mode & (PIPE | DEVICE) != 0 => EntryKind::Special,
        _ => EntryKind::File,
    }
}
