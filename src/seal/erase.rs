//! Takes files away for good: what is only removed is still on the disk, and a snapshot of the disk has it.
//!
//! Content is overwritten in place and flushed before its name goes. A file system that writes elsewhere (copy on write,
//! journalled data) keeps the old blocks all the same; ext4 and XFS as they are set up by default do not.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use crate::mounts;

/// Zeros that are written at once.
const CHUNK: usize = 1 << 20;

/// Removes a file or a directory with everything in it, overwriting the files. Follows no link. What is not there any more
/// is no error.
///
/// # Errors
/// The first thing that could not be removed; and, before anything is, that something is mounted there or below.
pub(super) fn erase(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !mounts::at_or_below(path).map_err(io::Error::other)?.is_empty() {
        return Err(io::Error::other("something is mounted there"));
    }
    overwrite_all(path)?;
    let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Overwrites all files below a path, and has that reach the disk; removes none. A file with a name elsewhere is somebody
/// else's as well, and stays as it is.
///
/// # Errors
/// When one cannot be written to.
pub(super) fn overwrite_all(path: &Path) -> io::Result<()> {
    // By device and inode: a name, how many were found, how many there are.
    let mut linked: HashMap<(u64, u64), (PathBuf, u64, u64)> = HashMap::new();
    let mut left = vec![path.to_owned()];
    let mut is_any = false;
    while let Some(path) = left.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found?,
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else if metadata.is_file() && metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            linked.entry(key).or_insert((path, 0, metadata.nlink())).1 += 1;
        } else if metadata.is_file() {
            overwrite(&path)?;
            is_any = true;
        }
    }
    for (path, _, _) in linked.values().filter(|(_, found, names)| found == names) {
        overwrite(path)?;
        is_any = true;
    }
    // Once for all of them: what is not on disk when its name goes never gets there.
    if is_any { Ok(rustix::fs::syncfs(File::open(path.parent().unwrap_or(path))?)?) } else { Ok(()) }
}

/// Overwrites a file and leaves it empty, with its owner and mode: whoever writes to it goes on at its beginning. One that
/// is not there any more is no error.
///
/// # Errors
/// When it cannot be written to.
pub(super) fn blank(path: &Path) -> io::Result<()> {
    let blanked = overwrite(path).and_then(|file| {
        file.sync_all()?;
        file.set_len(0)
    });
    match blanked {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        blanked => blanked,
    }
}

/// Puts other content in a file's place, overwriting the old.
///
/// # Errors
/// When it cannot be written to.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    blank(path)?;
    let mut file = open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Overwrites what there is of a file with zeros; its length stays, and so do its holes. Gives the open file.
fn overwrite(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
        write_zeros(&file, start..end)?;
        at = end;
    }
    Ok(file)
}

/// Writes zeros over parts of a file, and has them reach the disk.
///
/// # Errors
/// When it cannot be written to.
pub(super) fn zero(file: &File, parts: &[Range<u64>]) -> io::Result<()> {
    parts.iter().try_for_each(|part| write_zeros(file, part.clone()))?;
    file.sync_all()
}

fn write_zeros(file: &File, part: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; (part.end - part.start).min(CHUNK as u64) as usize];
    let mut at = part.start;
    while at < part.end {
        let length = (part.end - at).min(CHUNK as u64);
        file.write_all_at(&zeros[..length as usize], at)?;
        at += length;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn content_goes_before_its_name_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, vec![7; CHUNK + 5]).unwrap();
        let mut open = File::open(&path).unwrap();
        erase(&path).unwrap();
        erase(&path).unwrap();
        let mut left = Vec::new();
        open.read_to_end(&mut left).unwrap();
        assert_eq!(left, vec![0; CHUNK + 5]);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_goes_and_what_is_linked_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, gone) = (folder.path().join("kept"), folder.path().join("gone"));
        fs::create_dir_all(gone.join("deep/er")).unwrap();
        fs::write(&kept, "kept").unwrap();
        symlink(&kept, gone.join("deep/link")).unwrap();
        fs::hard_link(&kept, gone.join("deep/er/same")).unwrap();
        fs::write(gone.join("twice"), "both names are here").unwrap();
        fs::hard_link(gone.join("twice"), gone.join("deep/again")).unwrap();
        let mut twice = File::open(gone.join("twice")).unwrap();
        erase(&gone).unwrap();
        let mut left = String::new();
        twice.read_to_string(&mut left).unwrap();
        assert_eq!(left, "\0".repeat(19));
        assert!(!gone.exists());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
        symlink(&kept, &gone).unwrap();
        assert!(blank(&gone).is_err());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    }

    #[test]
    fn what_is_mounted_is_not_erased_and_holes_are_not_filled() {
        assert!(erase(Path::new("/proc")).unwrap_err().to_string().contains("mounted"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lastlog");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"login", 1 << 39).unwrap();
        blank(&path).unwrap();
        blank(&folder.path().join("absent")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_file_is_replaced_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, "long content").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        replace(&path, b"{}").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), fs::metadata(&path).unwrap().ino()), ("{}", before));
    }
}
