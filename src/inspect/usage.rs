//! What files take on disk, as containerd counts it (`fs/du_unix.go` of continuity): blocks of every inode, each
//! hard-linked file once, the directory itself included.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `st_blocks` counts in these, in bytes.
const BLOCK: u64 = 512;

/// What a directory with everything in it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Files and directories, each hard-linked file once.
    pub(crate) inodes: u64,
    /// How many of them are directories.
    pub(crate) directories: u64,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// What could not be looked at.
    pub(crate) unread: u64,
}

/// Counts a directory. What is not there or not readable is counted as such, and the rest goes on.
pub(crate) fn usage(directory: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    let mut directories = vec![directory.to_owned()];
    let mut count = |usage: &mut Usage, file: &fs::Metadata| {
        if file.is_dir() || file.nlink() < 2 || linked.insert((file.dev(), file.ino())) {
            usage.inodes += 1;
            usage.directories += u64::from(file.is_dir());
            usage.bytes += file.blocks() * BLOCK;
        }
    };
    match directory.symlink_metadata() {
        Ok(file) => count(&mut usage, &file),
        Err(_) => return Usage { unread: 1, ..usage },
    }
    while let Some(next) = directories.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            usage.unread += 1;
            continue;
        };
        for entry in entries {
            // Does not follow links.
            let Ok((entry, file)) = entry.and_then(|entry| entry.metadata().map(|file| (entry, file))) else {
                usage.unread += 1;
                continue;
            };
            count(&mut usage, &file);
            if file.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_several_names_counts_once_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/file"), [7; 5000]).unwrap();
        fs::hard_link(folder.path().join("sub/file"), folder.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        let found = usage(folder.path());
        assert_eq!((found.inodes, found.directories, found.unread), (4, 2, 0));
        let file = folder.path().join("again").metadata().unwrap();
        assert!(found.bytes >= file.blocks() * BLOCK);
        assert_eq!(usage(&folder.path().join("absent")), Usage { unread: 1, ..Usage::default() });
    }
}
