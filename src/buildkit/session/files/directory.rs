//! A directory that is sent: listing it, describing its entries, opening its files.
//!
//! **Invariant:** nothing outside of the directory is ever read, also when somebody swaps a directory for a symlink
//! while we walk: every step down is one `openat` that does not follow links.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::PermissionRule;
use super::follow::Links;
use super::go_path;
use super::wire;

/// The largest extended attribute Linux knows, and the largest list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const ATTRIBUTE_LIMIT: usize = 64 * 1024;

/// A directory on disk, and what permissions its entries are said to have.
#[derive(Clone)]
pub(super) struct Directory {
    /// As it was given; the rule gets paths below it.
    pub(super) path: PathBuf,
    /// See [`PermissionRule`].
    pub(super) permissions: PermissionRule,
}

/// An entry's base name, and its kind as the directory tells it.
pub(super) type Named = (Vec<u8>, FileType);

impl Directory {
    /// Opens the directory itself, through symlinks if need be.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&self.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Opens a file below the directory without following any symlink.
    pub(super) fn open_file(&self, path: &[u8]) -> io::Result<File> {
        let mut at = self.open()?;
        let directory = go_path::parent(path);
        if directory != b"." {
            for name in directory.split(|byte| *byte == b'/') {
                at = open_directory(&at, name)?;
            }
        }
        // A pipe that took the file's place must not make us wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&at, go_path::base(path), flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is no longer a regular file"));
        }
        Ok(file)
    }

    /// What the receiver is told of an entry, given what the disk says. A hard link is the caller's to add.
    ///
    /// None of it says who owns the file: all belongs to root, as docker's client has it.
    pub(super) fn describe(&self, path: &[u8], stat: &Stat, link: Vec<u8>) -> io::Result<wire::Stat> {
        let absolute = self.path.join(std::ffi::OsStr::from_bytes(path));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let on_disk = stat.st_mode & 0o7777;
        let permissions = if kind.is_symlink() { on_disk } else { (self.permissions)(&absolute, on_disk) & 0o7777 };
        let is_device = kind.is_block_device() || kind.is_char_device();
        // st_mtime_nsec is below a thousand million.
        let modified = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec as i64);
        Ok(wire::Stat {
            path: path.to_vec(),
            mode: go_mode(kind, permissions),
            size: if kind.is_dir() { 0 } else { stat.st_size },
            modified,
            link,
            // The kernel's and Go's idea of a device number: twelve bits and twenty.
            device_major: if is_device { i64::from(rustix::fs::major(stat.st_rdev)) } else { 0 },
            device_minor: if is_device { i64::from(rustix::fs::minor(stat.st_rdev)) } else { 0 },
            attributes: attributes(&absolute)?,
            uid: 0,
            gid: 0,
        })
    }

    /// Opens the directory an entry lies in; none when the way there is no directory.
    fn open_parent(&self, directory: &[u8]) -> io::Result<Option<OwnedFd>> {
        let mut at = self.open()?;
        if directory != b"." {
            for name in directory.split(|byte| *byte == b'/') {
                match open_directory(&at, name) {
                    Ok(next) => at = next,
                    Err(error) if leads_nowhere(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Some(at))
    }
}

impl Links for Directory {
    fn target(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(at) = self.open_parent(go_path::parent(path))? else { return Ok(None) };
        match rustix::fs::readlinkat(&at, go_path::base(path), Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            // EINVAL: there is something, and it is no symlink.
            Err(Errno::INVAL) => Ok(None),
            Err(error) if leads_nowhere(&error.into()) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn names(&self, directory: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let Some(at) = self.open_parent(directory)? else { return Ok(Vec::new()) };
        Ok(list(&at)?.into_iter().map(|(name, _)| name).collect())
    }
}

/// Opens a directory in a directory, and nothing else.
pub(super) fn open_directory(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// The entries of a directory in byte order of their names, which is the order they have to be sent in.
pub(super) fn list(at: &OwnedFd) -> io::Result<Vec<Named>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => FileType::from_raw_mode(look(at, name)?.st_mode),
                kind => kind,
            };
            names.push((name.to_vec(), kind));
        }
    }
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    Ok(names)
}

/// What the disk says of an entry itself, not of what it links to.
pub(super) fn look(at: &OwnedFd, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A symlink's raw target.
pub(super) fn link_target(at: &OwnedFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(at, name, Vec::new())?.into_bytes())
}

/// Whether an error only says that there is nothing at the end of a path.
pub(super) fn leads_nowhere(error: &io::Error) -> bool {
    // ELOOP: a symlink where a directory was.
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Go's `os.FileMode`, as fsutil sends it: a socket counts as a file there.
fn go_mode(kind: FileType, permissions: u32) -> u32 {
    let kind = match kind {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::RegularFile | FileType::Socket => 0,
        FileType::Unknown => 1 << 19,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special: u32 = special.iter().filter(|(bit, _)| permissions & bit != 0).map(|(_, go)| go).sum();
    kind | special | permissions & 0o777
}

/// The extended attributes of an entry itself; those of macOS' Finder are not sent.
fn attributes(path: &Path) -> io::Result<HashMap<String, Vec<u8>>> {
    let mut names = Vec::new();
    if let Err(error) = sized(&mut names, |buffer| rustix::fs::llistxattr(path, buffer)) {
        return if error == Errno::OPNOTSUPP { Ok(HashMap::new()) } else { Err(error.into()) };
    }
    let mut attributes = HashMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::new();
        // One that cannot be read is not sent, as by fsutil.
        if !name.starts_with(b"com.apple.")
            && sized(&mut value, |buffer| rustix::fs::lgetxattr(path, name, buffer)).is_ok()
        {
            attributes.insert(String::from_utf8_lossy(name).into_owned(), value);
        }
    }
    Ok(attributes)
}

/// Reads into a buffer that is enlarged when it was too small.
fn sized(buffer: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
    buffer.resize(256, 0);
    let length = match read(buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(ATTRIBUTE_LIMIT, 0);
            read(buffer)?
        }
        other => other?,
    };
    buffer.truncate(length);
    Ok(())
}
