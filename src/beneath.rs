//! Opens files below a directory's descriptor: never through a symbolic link on the way, never on another mount, never
//! outside the directory.
//!
//! The kernel's `openat2` does that in one step. Where it is missing or forbidden (Linux before 5.6, a seccomp filter), each
//! component is opened by itself. An error is never an empty answer: only [`is_absent`] says that nothing is there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat};
use rustix::io::Errno;

/// How often the kernel may ask to try again because the tree is changed at the same time.
const ATTEMPTS: usize = 64;

/// Whether `openat2` has turned out to be missing or forbidden.
static IS_MISSING: AtomicBool = AtomicBool::new(false);

/// Whether an error says that nothing is at a path; every other error says that nobody could look.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR)) || error.kind() == io::ErrorKind::NotFound
}

/// Opens the directory that everything else is reached from.
///
/// # Errors
/// When it is no directory or cannot be opened.
pub(crate) fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens `path` below `directory`; an empty path is the directory itself. A link at the end is opened as such with
/// `O_PATH | O_NOFOLLOW`, and refused (`ELOOP`) otherwise.
///
/// # Errors
/// When a component is a link or another mount, when the path is absolute or has `..`, or when it cannot be opened.
pub(crate) fn open(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let is_inside = path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if !is_inside {
        return Err(Errno::XDEV.into());
    }
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = flags | OFlags::CLOEXEC;
    match with_openat2(directory.as_fd(), path, flags) {
        Some(opened) => Ok(opened?),
        None => step_by_step(directory, path, flags),
    }
}

/// None where the kernel does not do it: step by step it may.
fn with_openat2(directory: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Option<Result<OwnedFd, Errno>> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        if IS_MISSING.load(Ordering::Relaxed) {
            return None;
        }
        match openat2(directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => IS_MISSING.store(true, Ordering::Relaxed),
            Err(Errno::PERM) => return None,
            opened => return Some(opened),
        }
    }
    None
}

/// Opens one component after the other. A mount shows by its device, which a bind mount of the same file system shares.
fn step_by_step(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let device = fstat(&directory)?.st_dev;
    let mut opened: Option<OwnedFd> = None;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let flags = match components.peek() {
            None => flags | OFlags::NOFOLLOW,
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        };
        let above = opened.as_ref().map_or(directory.as_fd(), |opened| opened.as_fd());
        let next = match openat(above, component.as_os_str(), flags, Mode::empty()) {
            Err(Errno::NOTDIR) if is_link(above, component.as_os_str())? => return Err(Errno::LOOP.into()),
            next => next?,
        };
        if fstat(&next)?.st_dev != device {
            return Err(Errno::XDEV.into());
        }
        opened = Some(next);
    }
    opened.ok_or_else(|| Errno::NOENT.into())
}

fn is_link(directory: impl AsFd, name: &OsStr) -> io::Result<bool> {
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
}

/// The names in a directory that is open for reading, in no order, without `.` and `..`.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn entries(directory: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    type Opener = fn(&OwnedFd, &Path, OFlags) -> io::Result<OwnedFd>;
    const OPENERS: [Opener; 2] = [
        |directory, path, flags| open(directory, path, flags),
        |directory, path, flags| step_by_step(directory, path, flags),
    ];

    fn errno(outcome: io::Result<OwnedFd>) -> Option<Errno> {
        outcome.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw_os_error)
    }

    #[test]
    fn both_ways_open_what_is_below_and_refuse_links() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "").unwrap();
        symlink("a", folder.path().join("link")).unwrap();
        symlink("/etc", folder.path().join("a/out")).unwrap();
        symlink("b", folder.path().join("a/in")).unwrap();
        let root = directory(folder.path()).unwrap();
        for open in OPENERS {
            let open = |path: &str, flags| open(&root, Path::new(path), flags);
            assert!(open("a/b/file", OFlags::RDONLY).is_ok() && open("a/b", OFlags::DIRECTORY).is_ok());
            for path in ["link/b/file", "link", "a/in", "a/out", "a/out/passwd", "a/in/file"] {
                assert_eq!(errno(open(path, OFlags::RDONLY)), Some(Errno::LOOP), "{path}");
            }
            assert_eq!(errno(open("a/in", OFlags::RDONLY | OFlags::DIRECTORY)), Some(Errno::LOOP));
            assert!(open("a/in", OFlags::PATH | OFlags::NOFOLLOW).is_ok());
            assert_eq!(errno(open("a/none", OFlags::RDONLY)), Some(Errno::NOENT));
            assert_eq!(errno(open("a/b/file/x", OFlags::RDONLY)), Some(Errno::NOTDIR));
        }
        assert_eq!(entries(open(&root, Path::new(""), OFlags::RDONLY).unwrap()).unwrap().len(), 2);
    }

    #[test]
    fn nothing_above_and_nothing_on_another_mount_is_opened() {
        let root = directory(Path::new("/")).unwrap();
        for open in OPENERS {
            assert_eq!(errno(open(&root, Path::new("proc/version"), OFlags::RDONLY)), Some(Errno::XDEV));
        }
        for path in ["..", "a/../..", "/etc/passwd", "/"] {
            assert_eq!(errno(open(&root, Path::new(path), OFlags::RDONLY)), Some(Errno::XDEV), "{path}");
        }
    }

    #[test]
    fn only_an_absent_file_is_absent() {
        for (errno, is) in [(Errno::NOENT, true), (Errno::NOTDIR, true), (Errno::MFILE, false), (Errno::LOOP, false)] {
            assert_eq!(is_absent(&errno.into()), is);
        }
        for errno in [Errno::NOSYS, Errno::IO, Errno::ACCESS, Errno::AGAIN] {
            assert!(!is_absent(&errno.into()));
        }
    }

    proptest! {
        #[test]
        fn no_path_leads_out(path in "[a./]{0,12}") {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("a")).unwrap();
            let root = directory(folder.path()).unwrap();
            if let Ok(opened) = open(&root, Path::new(&path), OFlags::PATH) {
                let target = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened))).unwrap();
                prop_assert!(target.starts_with(fs::canonicalize(folder.path()).unwrap()));
            }
        }
    }
}
