//! Takes files away for good: what is only removed is still on the disk, and a snapshot of the disk has it.
//!
//! Content is overwritten in place and flushed before its name goes. A file system that writes elsewhere (copy on write,
//! journalled data) keeps the old blocks all the same; ext4 and XFS as they are set up by default do not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Zeros that are written at once.
const CHUNK: usize = 1 << 20;

/// Removes a file or a directory with everything in it, overwriting the files. Follows no link and crosses no mount. What is
/// not there any more is no error.
///
/// # Errors
/// The first thing that could not be removed.
pub(super) fn erase(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let removed = if metadata.is_dir() {
        empty(path, metadata.dev()).and_then(|()| fs::remove_dir(path))
    } else {
        // With another name the content is another's as well.
        if metadata.is_file() && metadata.nlink() == 1 {
            overwrite(path)?;
        }
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what is in a directory.
///
/// # Errors
/// As [`erase`].
pub(super) fn empty(directory: &Path, device: u64) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.dev() != device => {
                return Err(io::Error::other(format!("{} is another file system", path.display())));
            }
            _ => erase(&path)?,
        }
    }
    Ok(())
}

/// Overwrites a file and leaves it empty, with its owner and mode: whoever writes to it goes on at its beginning.
///
/// # Errors
/// When it cannot be written to.
pub(super) fn blank(path: &Path) -> io::Result<()> {
    overwrite(path)?;
    open(path)?.set_len(0)
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

/// Overwrites a file with zeros; its length stays.
///
/// # Errors
/// When it cannot be written to.
pub(super) fn overwrite(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    zero(&file, std::slice::from_ref(&(0..length)))
}

/// Writes zeros over parts of a file, and has them reach the disk.
///
/// # Errors
/// When it cannot be written to.
pub(super) fn zero(file: &File, parts: &[Range<u64>]) -> io::Result<()> {
    let zeros = vec![0; CHUNK];
    for part in parts {
        let mut at = part.start;
        while at < part.end {
            let length = (part.end - at).min(CHUNK as u64);
            file.write_all_at(&zeros[..length as usize], at)?;
            at += length;
        }
    }
    file.sync_all()
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
        erase(&gone).unwrap();
        assert!(!gone.exists());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
        symlink(&kept, &gone).unwrap();
        assert!(blank(&gone).is_err());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
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
