//! Who holds a lock on a file: asked of the kernel's list, because taking the lock to find out, even for a moment, could keep
//! a daemon from starting.
//!
//! The list is `/proc/locks` (proc(5)): its fifth field is the process, the sixth the file as MAJOR:MINOR:INODE. The device
//! is that of the file system, which on btrfs and overlayfs is another one than `stat` tells: there, what the process has
//! open tells.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::beneath::is_absent;

const LIST: &str = "/proc/locks";

/// A lock on a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Lock {
    /// There is no such file.
    #[default]
    Absent,
    /// A process of this machine holds it: its id, as far as it can be seen from here.
    Held(Option<u32>),
    /// The file was left by a process that was killed, or is locked on another machine; harmless.
    Stale,
}

/// Who holds the lock on a file.
///
/// # Errors
/// When the file or the kernel's list cannot be read.
pub(crate) fn held_by(path: &Path) -> io::Result<Lock> {
    let file = match path.symlink_metadata() {
        Err(error) if is_absent(&error) => return Ok(Lock::Absent),
        file => file?,
    };
    let list = fs::read_to_string(LIST).map_err(|error| io::Error::new(error.kind(), format!("{LIST}: {error}")))?;
    for line in list.lines() {
        let Some(held) = Entry::of(line).filter(|held| held.inode == file.ino()) else { continue };
        if held.device == file.dev() || held.has_open(&file)? {
            return Ok(Lock::Held(held.process));
        }
    }
    Ok(Lock::Stale)
}

/// A line of the list.
struct Entry {
    /// Absent for one of another namespace, which has the number 0, or of a remote machine, which has a negative one.
    process: Option<u32>,
    device: u64,
    inode: u64,
}

impl Entry {
    fn of(line: &str) -> Option<Entry> {
        let mut fields = line.split_whitespace().skip(4);
        let process = fields.next()?.parse().ok().filter(|id| *id > 0);
        let mut file = fields.next()?.split(':');
        let mut number = |radix| u64::from_str_radix(file.next()?, radix).ok();
        let (major, minor) = (u32::try_from(number(16)?).ok()?, u32::try_from(number(16)?).ok()?);
        Some(Entry { process, device: rustix::fs::makedev(major, minor), inode: number(10)? })
    }

    /// Whether the process has that very file open. One that cannot be seen may have.
    fn has_open(&self, file: &Metadata) -> io::Result<bool> {
        let Some(process) = self.process else { return Ok(true) };
        let entries = match fs::read_dir(format!("/proc/{process}/fd")) {
            Err(error) if is_absent(&error) => return Ok(false),
            entries => entries?,
        };
        for entry in entries {
            match entry.and_then(|entry| fs::metadata(entry.path())) {
                Err(error) if is_absent(&error) => {}
                Ok(open) if (open.dev(), open.ino()) == (file.dev(), file.ino()) => return Ok(true),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_told_from_a_file_that_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(held_by(&path).unwrap(), Lock::Absent);
        let file = fs::File::create(&path).unwrap();
        assert_eq!(held_by(&path).unwrap(), Lock::Stale);
        file.lock().unwrap();
        assert_eq!(held_by(&path).unwrap(), Lock::Held(Some(std::process::id())));
    }

    #[test]
    fn a_file_system_of_another_device_than_stat_tells_is_no_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = fs::File::create(&path).unwrap();
        let metadata = file.metadata().unwrap();
        let entry = |process| Entry { process, device: metadata.dev() + 1, inode: metadata.ino() };
        assert!(entry(Some(std::process::id())).has_open(&metadata).unwrap());
        assert!(entry(None).has_open(&metadata).unwrap());
        drop(file);
        assert!(!entry(Some(std::process::id())).has_open(&metadata).unwrap());
    }

    #[test]
    fn lines_of_the_kernel_are_read_and_others_passed_over() {
        let entry = Entry::of("1: FLOCK  ADVISORY  WRITE 4242 fd:0a:9876 0 EOF").unwrap();
        assert_eq!((entry.process, entry.inode), (Some(4242), 9876));
        assert_eq!(entry.device, rustix::fs::makedev(0xfd, 0x0a));
        assert_eq!(Entry::of("1: FLOCK  ADVISORY  WRITE 0 fd:0a:9876 0 EOF").unwrap().process, None);
        for odd in ["", "1: FLOCK", "1: FLOCK ADVISORY WRITE 1 fd:0a", "1: FLOCK ADVISORY WRITE 1 x:y:z 0 EOF"] {
            assert!(Entry::of(odd).is_none(), "{odd}");
        }
    }
}
