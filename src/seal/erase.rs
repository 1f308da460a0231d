//! Overwrites and removes files of the state root: a file that is only removed is still on the disk, and a snapshot of the
//! disk has it.
//!
//! Everything is reached from the root's own descriptor, without symbolic links and without other mounts, and is compared
//! by device and inode with what was looked at before. Content is overwritten in place and flushed before its name goes. A
//! file system that writes elsewhere (copy on write, journalled data) keeps the old blocks; ext4 and XFS do not.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, SeekFrom, Stat, fstat, seek, syncfs, unlinkat};
use rustix::io::Errno;

use crate::beneath;

/// Zeros that are written at once, in bytes.
const CHUNK: usize = 1 << 20;

/// A file or directory of the state root, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Located {
    /// The path below the root; never empty, never absolute, without `..`.
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
}

/// The state root that is changed.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

impl Root {
    /// Opens the state root at `path`.
    ///
    /// # Errors
    /// When it is no directory or cannot be opened.
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        Ok(Root { path: path.to_owned(), directory: beneath::directory(path)? })
    }

    /// Its descriptor.
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Notes which file or directory is at `path`; none when nothing is.
    ///
    /// # Errors
    /// When the path is not one below the root, or cannot be looked at.
    pub(super) fn locate(&self, path: &Path) -> io::Result<Option<Located>> {
        let below = path.strip_prefix(&self.path).ok().filter(|below| !below.as_os_str().is_empty());
        let below = below.ok_or_else(|| io::Error::other(format!("{} is not in the state root", path.display())))?;
        match beneath::open(&self.directory, below, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(error) if beneath::is_absent(&error) => Ok(None),
            found => {
                let found = fstat(&found?)?;
                Ok(Some(Located { path: below.to_owned(), device: found.st_dev, inode: found.st_ino }))
            }
        }
    }

    /// Opens a located file or directory, if it is still the one that was looked at; none when nothing is there.
    fn opened(&self, located: &Located, flags: OFlags) -> io::Result<Option<(OwnedFd, Stat)>> {
        let opened = match beneath::open(&self.directory, &located.path, flags | OFlags::NOFOLLOW) {
            Err(error) if beneath::is_absent(&error) => return Ok(None),
            opened => opened?,
        };
        let found = fstat(&opened)?;
        match (found.st_dev, found.st_ino) == (located.device, located.inode) {
            true => Ok(Some((opened, found))),
            false => Err(io::Error::other("another file has taken its place since it was looked at")),
        }
    }

    /// Reads a small regular file that has no other name; none when nothing is there.
    ///
    /// # Errors
    /// When something else is there than before, when it is a link, no regular file, larger than `most` bytes or has another
    /// name, and when it cannot be read.
    pub(super) fn read(&self, located: &Located, most: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((file, found)) = self.opened(located, OFlags::RDONLY | OFlags::NONBLOCK)? else { return Ok(None) };
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink != 1 {
            return Err(io::Error::other("it is no regular file with one name"));
        }
        let mut content = Vec::new();
        File::from(file).take(most + 1).read_to_end(&mut content)?;
        match content.len() as u64 > most {
            true => Err(io::Error::other(format!("it has more than {most} bytes"))),
            false => Ok(Some(content)),
        }
    }

    /// Removes a file, or a directory with everything in it, after overwriting the files. What is not there any more is no
    /// error.
    ///
    /// # Errors
    /// When something else is there than before, when something is mounted in it, or when it cannot be written to.
    pub(super) fn erase(&self, located: &Located) -> io::Result<()> {
        self.overwrite(std::slice::from_ref(located))?;
        let Some((opened, found)) = self.opened(located, OFlags::PATH)? else { return Ok(()) };
        let above = located.path.parent().unwrap_or(Path::new(""));
        let above = beneath::open(&self.directory, above, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let name = located.path.file_name().unwrap_or_default();
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            drop(opened);
            let Some((directory, _)) = self.opened(located, OFlags::RDONLY | OFlags::DIRECTORY)? else { return Ok(()) };
            for (path, is_directory) in entries_below(&directory)?.into_iter().rev() {
                let above = beneath::open(&directory, path.parent().unwrap_or(Path::new("")), OFlags::RDONLY)?;
                remove(&above, Path::new(path.file_name().unwrap_or_default()), is_directory)?;
            }
            remove(&above, Path::new(name), true)
        } else {
            remove(&above, Path::new(name), false)
        }
    }

    /// Overwrites files, and all files below directories, and waits until that is on disk; removes none. A file that has
    /// another name elsewhere belongs to somebody else as well, and stays as it is.
    ///
    /// # Errors
    /// When something else is there than before, when something is mounted in it, or when a file cannot be written to.
    pub(super) fn overwrite(&self, these: &[Located]) -> io::Result<()> {
        // By inode: where it is, how many of its names were found, and how many it has.
        let mut linked: HashMap<u64, (OwnedFd, u64, u64)> = HashMap::new();
        for located in these {
            let Some((opened, found)) = self.opened(located, OFlags::PATH)? else { continue };
            match FileType::from_raw_mode(found.st_mode) {
                FileType::RegularFile => {
                    let file = self.opened(located, OFlags::WRONLY | OFlags::NONBLOCK)?;
                    file.map_or(Ok(()), |(file, found)| overwrite_or_keep(file, &found, &mut linked))?;
                }
                FileType::Directory => {
                    drop(opened);
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let Some((directory, _)) = self.opened(located, flags)? else { continue };
                    for (path, _) in entries_below(&directory)? {
                        let entry = beneath::open(&directory, &path, OFlags::PATH | OFlags::NOFOLLOW)?;
                        if FileType::from_raw_mode(fstat(&entry)?.st_mode) == FileType::RegularFile {
                            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                            let file = beneath::open(&directory, &path, flags)?;
                            let found = fstat(&file)?;
                            overwrite_or_keep(file, &found, &mut linked)?;
                        }
                    }
                }
                _ => {}
            }
        }
        for (file, found, names) in linked.into_values() {
            if found == names {
                overwrite(&File::from(file))?;
            }
        }
        // One flush for all of them: what is not on disk when its name goes never gets there.
        Ok(syncfs(&self.directory)?)
    }

    /// Writes zeros over parts of a file, and waits until they are on disk.
    ///
    /// # Errors
    /// When something else is there than before, or when it cannot be written to.
    pub(super) fn zero(&self, located: &Located, parts: &[Range<u64>]) -> io::Result<()> {
        let Some((file, _)) = self.opened(located, OFlags::WRONLY)? else { return Ok(()) };
        let file = File::from(file);
        parts.iter().try_for_each(|part| write_zeros(&file, part.clone()))?;
        file.sync_all()
    }
}

/// Everything below a directory, each directory before what is in it, and whether it is a directory itself.
fn entries_below(directory: &OwnedFd) -> io::Result<Vec<(PathBuf, bool)>> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let opened = beneath::open(directory, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
        for name in beneath::entries(&opened)? {
            let path = path.join(&name);
            let entry = beneath::open(directory, &path, OFlags::PATH | OFlags::NOFOLLOW)?;
            let is_directory = FileType::from_raw_mode(fstat(&entry)?.st_mode) == FileType::Directory;
            if is_directory {
                left.push(path.clone());
            }
            found.push((path, is_directory));
        }
    }
    Ok(found)
}

fn remove(above: &OwnedFd, name: &Path, is_directory: bool) -> io::Result<()> {
    let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match unlinkat(above, name, flags).map_err(io::Error::from) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Overwrites a file that has one name; notes one that has several.
fn overwrite_or_keep(file: OwnedFd, found: &Stat, linked: &mut HashMap<u64, (OwnedFd, u64, u64)>) -> io::Result<()> {
    if found.st_nlink <= 1 {
        return overwrite(&File::from(file));
    }
    linked.entry(found.st_ino).or_insert((file, 0, found.st_nlink)).1 += 1;
    Ok(())
}

/// Overwrites the data of a file with zeros; its length and its holes stay.
fn overwrite(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        write_zeros(file, start..end)?;
        at = end;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn content_is_overwritten_before_its_name_goes() {
        let (folder, root) = root();
        let path = folder.path().join("token");
        fs::write(&path, vec![7; CHUNK + 5]).unwrap();
        let mut open = File::open(&path).unwrap();
        let located = root.locate(&path).unwrap().unwrap();
        root.erase(&located).unwrap();
        root.erase(&located).unwrap();
        let mut left = Vec::new();
        open.read_to_end(&mut left).unwrap();
        assert_eq!(left, vec![0; CHUNK + 5]);
        assert!(!path.exists() && root.locate(&path).unwrap().is_none());
    }

    #[test]
    fn a_directory_goes_and_the_target_of_a_link_stays() {
        let (folder, root) = root();
        let (kept, gone) = (folder.path().join("kept"), folder.path().join("gone"));
        fs::create_dir_all(gone.join("deep/er")).unwrap();
        fs::write(&kept, "kept").unwrap();
        symlink(&kept, gone.join("deep/link")).unwrap();
        symlink(folder.path(), gone.join("above")).unwrap();
        fs::hard_link(&kept, gone.join("deep/er/same")).unwrap();
        fs::write(gone.join("twice"), "both names are here").unwrap();
        fs::hard_link(gone.join("twice"), gone.join("deep/again")).unwrap();
        let mut twice = File::open(gone.join("twice")).unwrap();
        root.erase(&root.locate(&gone).unwrap().unwrap()).unwrap();
        assert_eq!((gone.exists(), fs::read_to_string(&kept).unwrap()), (false, "kept".to_owned()));
        let mut left = String::new();
        twice.read_to_string(&mut left).unwrap();
        assert_eq!(left, "\0".repeat(19));
    }

    #[test]
    fn another_file_in_the_same_place_is_left_alone() {
        let (folder, root) = root();
        let (path, victim) = (folder.path().join("a/b"), folder.path().join("victim"));
        fs::create_dir_all(path.join("c")).unwrap();
        fs::create_dir_all(victim.join("b/c")).unwrap();
        fs::write(victim.join("b/c/file"), "precious").unwrap();
        let located = root.locate(&path).unwrap().unwrap();
        // By a link on the way, and by another directory of the same name.
        fs::rename(folder.path().join("a"), folder.path().join("moved")).unwrap();
        symlink(&victim, folder.path().join("a")).unwrap();
        assert!(root.erase(&located).is_err() && root.overwrite(std::slice::from_ref(&located)).is_err());
        fs::remove_file(folder.path().join("a")).unwrap();
        fs::rename(&victim, folder.path().join("a")).unwrap();
        assert!(root.erase(&located).is_err() && root.overwrite(std::slice::from_ref(&located)).is_err());
        assert_eq!(fs::read_to_string(folder.path().join("a/b/c/file")).unwrap(), "precious");
    }

    #[test]
    fn nothing_outside_the_root_can_be_named() {
        let (folder, root) = root();
        for path in [Path::new("relative"), Path::new("/etc/passwd"), Path::new(""), folder.path()] {
            assert!(root.locate(path).is_err(), "{}", path.display());
        }
        assert!(root.locate(&folder.path().join("../x")).is_err());
    }

    #[test]
    fn holes_stay_holes() {
        let (folder, root) = root();
        let path = folder.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"data", 1 << 30).unwrap();
        root.overwrite(&[root.locate(&path).unwrap().unwrap()]).unwrap();
        let mut data = [1; 4];
        File::open(&path).unwrap().read_exact_at(&mut data, 1 << 30).unwrap();
        assert_eq!((data, path.metadata().unwrap().len()), ([0; 4], 1 << 40));
    }
}
