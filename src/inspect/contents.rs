//! Whether the files of a snapshot are those of its layer's archive: each entry's kind, mode, size and bytes, or where it
//! points. What the archive does not have, extra files, is not looked for: the number of inodes tells.
//!
//! An entry is not judged when the folder it belongs to is not in the snapshot, or is a link: it then lies elsewhere
//! (`lib/x` where `lib` points to `usr/lib`). Neither are whiteouts, devices, extended attributes and
//! POSIX archives' sparse files.
//! Source of the names: the OCI image specification, `layer.md`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, OFlags, readlinkat};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use crate::beneath::{self, is_absent};
use crate::compression;
use crate::document::folder;
use crate::foreign;

/// Bytes compared at once.
const CHUNK: usize = 64 * 1024;
/// What marks a removed file, and what belongs to the format itself.
const WHITEOUT: &[u8] = b".wh.";
/// The bits of a mode that an archive sets.
const MODE: u32 = 0o7777;

/// What a comparison showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Entries that were compared.
    pub(super) compared: u64,
    /// What is wrong, by path in the archive.
    pub(super) wrong: BTreeMap<PathBuf, String>,
}

/// Compares `files`, the directory of a snapshot, with the archive in a layer's blob. `told` hears of bytes that were
/// compared and says whether to go on. None when it says no, and when the blob holds no archive that we can read to its end,
/// which proves nothing.
///
/// # Errors
/// When the kernel does not let us read the blob or the snapshot.
pub(super) fn compare_with_blob(
    files: &Path,
    blob: &Path,
    told: impl FnMut(u64) -> bool,
) -> io::Result<Option<Contents>> {
    let failure = Cell::new(None);
    let blob = Watched { file: foreign::open_regular(blob)?, failure: &failure };
    let compared = compression::unpacked(blob).and_then(|archive| compare(files, archive, told));
    match (failure.into_inner(), compared) {
        (Some(error), _) => Err(io::Error::from_raw_os_error(error)),
        (None, Err(error)) if error.raw_os_error().is_none() => Ok(None),
        (None, compared) => compared,
    }
}

/// A file that keeps the kernel's error: decompressors and the reader of archives make others of it.
struct Watched<'f> {
    file: File,
    failure: &'f Cell<Option<i32>>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure.set(error.raw_os_error());
            }
        })
    }
}

/// Compares `files` with an archive.
///
/// # Errors
/// When the archive ends too early or is none, and when the kernel does not let us look at the snapshot.
fn compare(files: &Path, archive: impl Read, told: impl FnMut(u64) -> bool) -> io::Result<Option<Contents>> {
    let root = beneath::directory(files)?;
    let mut comparison = Comparison { root, told, wanted: vec![0; CHUNK], found: vec![0; CHUNK] };
    let mut contents = Contents::default();
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = inside(&entry.path_bytes()) else { continue };
        if let Some(name) = path.file_name().and_then(|name| name.as_bytes().strip_prefix(WHITEOUT)) {
            contents.forget(&path.with_file_name(OsStr::from_bytes(name)));
            continue;
        }
        // A later entry of that name takes the place of an earlier one.
        contents.wrong.remove(&path);
        let judged = if is_sparse(&mut entry)? { Judged::Unknown } else { comparison.judge(&path, &mut entry)? };
        match judged {
            Judged::Same => contents.compared += 1,
            Judged::Other(what) => {
                contents.compared += 1;
                contents.wrong.insert(path, what);
            }
            Judged::Unknown => {}
            Judged::Stopped => return Ok(None),
        }
    }
    Ok(Some(contents))
}

impl Contents {
    fn forget(&mut self, path: &Path) {
        self.wrong.retain(|wrong, _| !wrong.starts_with(path));
    }

    /// What is wrong, in a sentence.
    pub(super) fn fault(&self) -> Option<String> {
        let (path, what) = self.wrong.first_key_value()?;
        let others = match self.wrong.len() - 1 {
            0 => String::new(),
            others => format!("; {others} more of {} differ", self.compared),
        };
        Some(format!("its {} {what}{others}", path.display()))
    }
}

/// What became of an entry.
enum Judged {
    Same,
    Other(String),
    Unknown,
    Stopped,
}

/// Whether an entry is one of POSIX archives' sparse files, whose bytes begin with a map that we do not read.
fn is_sparse(entry: &mut Entry<'_, impl Read>) -> io::Result<bool> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    Ok(extensions.flatten().any(|extension| extension.key_bytes().starts_with(b"GNU.sparse.")))
}

/// The path below the root; none for the root itself and for what leads out of it.
fn inside(path: &[u8]) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!inside.as_os_str().is_empty()).then_some(inside)
}

/// A snapshot whose entries are judged one after the other.
struct Comparison<T> {
    root: OwnedFd,
    told: T,
    wanted: Vec<u8>,
    found: Vec<u8>,
}

impl<T: FnMut(u64) -> bool> Comparison<T> {
    fn judge(&mut self, path: &Path, entry: &mut Entry<'_, impl Read>) -> io::Result<Judged> {
        let kind = match entry.header().entry_type() {
            // As the oldest archives have directories.
            EntryType::Regular if entry.path_bytes().ends_with(b"/") => Some(FileType::Directory),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Some(FileType::RegularFile),
            EntryType::Directory => Some(FileType::Directory),
            EntryType::Symlink => Some(FileType::Symlink),
            // A further name of a file, which may be a layer below's: whatever that is.
            EntryType::Link => None,
            _ => return Ok(Judged::Unknown),
        };
        let found = match self.open(path, OFlags::PATH) {
            Err(error) if is_absent(&error) && self.has_folder(path)? => {
                return Ok(Judged::Other("is not there".to_owned()));
            }
            Err(error) if leads_elsewhere(&error) => return Ok(Judged::Unknown),
            found => found?,
        };
        let Some(kind) = kind else { return Ok(Judged::Same) };
        let metadata = found.metadata()?;
        let found_kind = FileType::from_raw_mode(metadata.mode());
        if kind != found_kind {
            return Ok(Judged::Other(format!("is {} instead of {}", called(found_kind), called(kind))));
        }
        if kind == FileType::Symlink {
            let target = readlinkat(&found, "", Vec::new())?;
            let wanted = entry.link_name_bytes().unwrap_or_default();
            let is_same = target.as_bytes() == wanted.as_ref();
            return Ok(if is_same { Judged::Same } else { Judged::Other("points elsewhere".to_owned()) });
        }
        let (mode, wanted) = (metadata.mode() & MODE, entry.header().mode()? & MODE);
        if mode != wanted {
            return Ok(Judged::Other(format!("has the mode {mode:04o} instead of {wanted:04o}")));
        }
        if kind == FileType::Directory {
            return Ok(Judged::Same);
        }
        if metadata.len() != entry.size() {
            return Ok(Judged::Other(format!("has {} bytes instead of {}", metadata.len(), entry.size())));
        }
        match self.open(path, OFlags::RDONLY) {
            Ok(file) => self.same_bytes(file, entry),
            Err(error) => Ok(Judged::Other(format!("could not be read: {error}"))),
        }
    }

    /// Opens what has this path in the snapshot, links as such.
    fn open(&self, path: &Path, how: OFlags) -> io::Result<File> {
        beneath::open(&self.root, path, how | OFlags::NOFOLLOW).map(File::from)
    }

    fn has_folder(&self, path: &Path) -> io::Result<bool> {
        match self.open(folder(path), OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if leads_elsewhere(&error) => Ok(false),
            folder => folder.map(|_| true),
        }
    }

    fn same_bytes(&mut self, mut file: File, entry: &mut impl Read) -> io::Result<Judged> {
        loop {
            let length = entry.read(&mut self.wanted)?;
            if length == 0 {
                return Ok(Judged::Same);
            }
            match file.read_exact(&mut self.found[..length]) {
                Ok(()) if self.wanted[..length] == self.found[..length] => {}
                Ok(()) => return Ok(Judged::Other("has other content".to_owned())),
                Err(error) => return Ok(Judged::Other(format!("could not be read: {error}"))),
            }
            if !(self.told)(length as u64) {
                return Ok(Judged::Stopped);
            }
        }
    }
}

/// Whether a path goes through a link, or has no folder, so that it belongs to a layer below.
fn leads_elsewhere(error: &io::Error) -> bool {
    is_absent(error) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

fn called(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        _ => "something else",
    }
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
