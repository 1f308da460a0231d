//! Whether the files of a snapshot are those of its layer's archive: each entry's kind, mode, size and bytes, or where it
//! points. What the archive does not have, extra files, is not looked for: the number of inodes tells.
//!
//! An entry is not judged when the folder it belongs to is not in the snapshot: it then went through a link of a layer below
//! (`lib/x` where `lib` points to `usr/lib`). Neither are whiteouts, devices, extended attributes and
//! POSIX archives' sparse files.
//! Source of the names: the OCI image specification, `layer.md`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use crate::document::folder;

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

/// Compares `files`, the directory of a snapshot, with its layer's archive. `told` hears of bytes that were compared and
/// says whether to go on; none when it says no.
///
/// # Errors
/// When the archive ends too early or is none, or the directory cannot be opened.
pub(super) fn compare(files: &Path, archive: impl Read, told: impl FnMut(u64) -> bool) -> io::Result<Option<Contents>> {
    let root = File::from(openat(CWD, files, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
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
    root: File,
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
            Ok(found) => found,
            Err(Errno::NOENT) if self.has_folder(path) => return Ok(Judged::Other("is not there".to_owned())),
            // Another link on the way, or none of its folders.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(Judged::Unknown),
            Err(error) => return Err(error.into()),
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

    /// Opens what has this path in the snapshot, whatever links say.
    fn open(&self, path: &Path, how: OFlags) -> Result<File, Errno> {
        let how = how | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(&self.root, path, how, Mode::empty(), ResolveFlags::IN_ROOT).map(File::from)
    }

    fn has_folder(&self, path: &Path) -> bool {
        self.open(folder(path), OFlags::PATH | OFlags::DIRECTORY).is_ok()
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

fn called(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use proptest::prelude::*;
    use tar::{Builder, Header};

    use super::*;

    /// An archive of entries: kind, path, mode, and content or target.
    fn archive(entries: &[(EntryType, &str, u32, &str)]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (kind, path, mode, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_size(0);
            match kind {
                EntryType::Symlink | EntryType::Link => archive.append_link(&mut header, path, content).unwrap(),
                _ => {
                    header.set_size(content.len() as u64);
                    archive.append_data(&mut header, path, content.as_bytes()).unwrap();
                }
            }
        }
        archive.into_inner().unwrap()
    }

    const ENTRIES: [(EntryType, &str, u32, &str); 6] = [
        (EntryType::Directory, "dir/", 0o755, ""),
        (EntryType::Regular, "dir/file", 0o644, "content"),
        (EntryType::Regular, "dir/set-user-id", 0o4755, "program"),
        (EntryType::Symlink, "dir/link", 0o777, "../etc/passwd"),
        (EntryType::Link, "dir/again", 0o644, "dir/file"),
        (EntryType::Regular, "top", 0o600, ""),
    ];

    /// Those entries on disk.
    fn unpacked() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bytes = archive(&ENTRIES);
        let mut archive = Archive::new(bytes.as_slice());
        archive.set_preserve_permissions(true);
        archive.unpack(folder.path()).unwrap();
        folder
    }

    fn compared(files: &Path, archive: &[u8]) -> Contents {
        compare(files, archive, |_| true).unwrap().unwrap()
    }

    #[test]
    fn what_was_unpacked_is_the_same() {
        let folder = unpacked();
        assert_eq!(compared(folder.path(), &archive(&ENTRIES)), Contents { compared: 6, wrong: BTreeMap::new() });
    }

    #[test]
    fn each_damage_is_named() {
        type Damage = (fn(&Path), &'static str);
        let damages: [Damage; 8] = [
            (|dir| fs::write(dir.join("file"), "Content").unwrap(), "its dir/file has other content"),
            (|dir| fs::write(dir.join("file"), "").unwrap(), "its dir/file has 0 bytes instead of 7"),
            (|dir| fs::remove_file(dir.join("again")).unwrap(), "its dir/again is not there"),
            (
                |dir| fs::set_permissions(dir.join("set-user-id"), fs::Permissions::from_mode(0o755)).unwrap(),
                "its dir/set-user-id has the mode 0755 instead of 4755",
            ),
            (|dir| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap(), "its dir has the mode 0700"),
            (
                |dir| {
                    fs::remove_file(dir.join("link")).unwrap();
                    symlink("/etc/shadow", dir.join("link")).unwrap();
                },
                "its dir/link points elsewhere",
            ),
            (
                |dir| {
                    fs::remove_file(dir.join("file")).unwrap();
                    fs::create_dir(dir.join("file")).unwrap();
                },
                "its dir/file is a directory instead of a file",
            ),
            (
                |dir| {
                    fs::write(dir.join("file"), "").unwrap();
                    fs::write(dir.join("set-user-id"), "PROGRAM").unwrap();
                },
                "its dir/file has 0 bytes instead of 7; 1 more of 6 differ",
            ),
        ];
        for (damage, what) in damages {
            let folder = unpacked();
            damage(&folder.path().join("dir"));
            let fault = compared(folder.path(), &archive(&ENTRIES)).fault().unwrap();
            assert!(fault.starts_with(what), "{fault}");
        }
    }

    #[test]
    fn an_entry_that_went_through_a_link_is_not_judged_and_none_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "content").unwrap();
        // One link leads into the snapshot, one to a file of this machine with other content.
        symlink("/", folder.path().join("inside")).unwrap();
        symlink(&file, folder.path().join("outside")).unwrap();
        let entries = [
            (EntryType::Regular, "lib/x", 0o644, "content"),
            (EntryType::Regular, "inside/file", 0o644, "content"),
            (EntryType::Regular, "outside/x", 0o644, "content"),
        ];
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(compared(folder.path(), &archive(&entries)), Contents { compared: 1, wrong: BTreeMap::new() });
        for path in ["../file", "a/../../file"] {
            assert_eq!(inside(path.as_bytes()), None);
        }
        assert_eq!(inside(b"./a//b/").unwrap(), Path::new("a/b"));
        assert_eq!(inside(b"./"), None);
    }

    #[test]
    fn the_last_word_of_an_archive_counts() {
        let folder = unpacked();
        let earlier = [
            (EntryType::Regular, "dir/file", 0o644, "an earlier one"),
            (EntryType::Regular, "gone", 0o644, "removed"),
            (EntryType::Regular, ".wh.gone", 0o644, ""),
            (EntryType::Regular, ".wh..wh..opq", 0o644, ""),
        ];
        let entries = [&earlier[..], &ENTRIES[..]].concat();
        assert_eq!(compared(folder.path(), &archive(&entries)).fault(), None);
    }

    #[test]
    fn a_sparse_file_is_not_judged_by_its_map() {
        let folder = unpacked();
        let mut archive = Builder::new(Vec::new());
        archive.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(4);
        archive.append_data(&mut header, "dir/file", &b"1\n0\n"[..]).unwrap();
        let compared = compared(folder.path(), &archive.into_inner().unwrap());
        assert_eq!(compared, Contents::default());
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let folder = unpacked();
        assert_eq!(compare(folder.path(), archive(&ENTRIES).as_slice(), |_| false).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_archive_is_too_odd(flips in prop::collection::vec((0_usize..5000, 0_u32..8), 1..20), end in 0_usize..5000) {
            let folder = unpacked();
            let mut bytes = archive(&ENTRIES);
            for (at, bit) in flips {
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
            }
            bytes.truncate(end.max(1));
            let _ = compare(folder.path(), bytes.as_slice(), |_| true);
        }
    }
}
