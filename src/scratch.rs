//! Directories of ours that no run outlives: clones, shadows, sockets. Each has a file beside it, `NAME.lock`, that its
//! process holds a lock on, so that a later run knows one that was killed from one that works, and removes what it left.
//!
//! **Invariant:** what is removed is what we made: the lock says so and names the directory's inode, both are of our own
//! user, and nobody holds the lock. A name tells nothing: others have a `cachewarm-root` with a lock of `flock(1)` beside it.
//! No link is followed, and nothing that is mounted is emptied: it is unmounted first.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::OFlags;
use rustix::mount::UnmountFlags;

use crate::beneath::is_absent;
use crate::mounts;

/// What the names of all of them begin with, in a directory that others use as well and beside a state root.
const NAMES: [&str; 2] = ["cachewarm-", ".cachewarm-"];
/// What the names of their locks end with.
pub(crate) const LOCK: &str = ".lock";
/// What our locks begin with; the inode of the directory follows once it is made.
const MARK: &str = "scratch directory of cachewarm ";
/// Bytes of the longest one, an inode's digits included.
const LONGEST_MARK: u64 = 64;
/// How often a name is tried: somebody may sweep before the lock is ours.
const ATTEMPTS: usize = 8;

/// A directory of ours, for its owner alone. Dropping it removes it with everything in it.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    lock: PathBuf,
    held: File,
}

impl Scratch {
    /// Makes one in the directory for temporary files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(prefix: &str) -> anyhow::Result<Scratch> {
        Scratch::new_in(&std::env::temp_dir(), prefix)
    }

    /// Makes one in a directory, and removes what killed runs left there. Its path has no links in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new_in(parent: &Path, prefix: &str) -> anyhow::Result<Scratch> {
        debug_assert!(NAMES.iter().any(|name| prefix.starts_with(name)), "{prefix} is not one of our names");
        let parent = parent.canonicalize().with_context(|| format!("could not use {}", parent.display()))?;
        sweep(&parent);
        let what = || format!("could not make a directory in {}", parent.display());
        for _ in 0..ATTEMPTS {
            let lock = tempfile::Builder::new().prefix(prefix).suffix(LOCK).tempfile_in(&parent).with_context(what)?;
            let (mut held, lock) = lock.keep().with_context(what)?;
            let path = lock.with_extension("");
            if !is_locked_by(&held, &lock).with_context(what)? {
                continue;
            }
            held.write_all(MARK.as_bytes()).with_context(what)?;
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let scratch = Scratch { path, lock, held };
                    let inode = scratch.path.symlink_metadata().with_context(what)?.ino();
                    writeln!(&scratch.held, "{inode}").with_context(what)?;
                    return Ok(scratch);
                }
                Err(error) => {
                    let _ = fs::remove_file(&lock);
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        return Err(error).with_context(what);
                    }
                }
            }
        }
        bail!("{}: others remove what is made there", what())
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, for a program that works in the directory: as long as it has the file open, as its standard input, nobody
    /// takes the directory for one that was left.
    ///
    /// # Errors
    /// When the process has too many files open.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.held.try_clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match unmount(&self.path).and_then(|()| remove_all(&self.path)) {
            // As long as the directory is there the next run finds it by the lock.
            Ok(()) => drop(fs::remove_file(&self.lock)),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
}

/// The directories that killed runs left in a directory: of our names and our user, with a lock that nobody holds.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn left_in(parent: &Path) -> io::Result<Vec<Left>> {
    let mut left = Vec::new();
    // The kernel's table of mounts has no links in it.
    for entry in fs::read_dir(parent.canonicalize()?)? {
        let lock = entry?.path();
        let name = lock.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(LOCK)
            && NAMES.iter().any(|ours| name.starts_with(ours))
            && let Some((held, inode)) = taken(&lock)?
        {
            left.push(Left { path: lock.with_extension(""), inode, lock, held });
        }
    }
    Ok(left)
}

/// A directory that a killed run left. We hold its lock.
#[derive(Debug)]
pub(crate) struct Left {
    /// The directory; it may be gone already.
    pub(crate) path: PathBuf,
    /// That of the directory; none when its run was killed before it could say.
    inode: Option<u64>,
    lock: PathBuf,
    #[expect(dead_code, reason = "closing it lets go")]
    held: File,
}

impl Left {
    /// Removes it.
    ///
    /// # Errors
    /// When it is not ours, or cannot be removed.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        match self.path.symlink_metadata() {
            Err(error) if is_absent(&error) => {}
            Ok(found) if found.is_dir() && found.uid() == us() => remove(&self.path, self.inode)?,
            found => {
                found?;
                bail!("{} is no directory of ours", self.path.display());
            }
        }
        fs::remove_file(&self.lock).with_context(|| format!("could not remove {}", self.lock.display()))
    }
}

/// Removes what killed runs left in a directory. What cannot be removed stays for the next run.
pub(crate) fn sweep(parent: &Path) {
    let left = left_in(parent).unwrap_or_else(|error| {
        tracing::debug!("could not look for what killed runs left in {}: {error}", parent.display());
        Vec::new()
    });
    for left in left {
        if let Err(error) = left.remove() {
            tracing::warn!("could not remove what a killed run left: {error:#}");
        }
    }
}

/// The lock of somebody who is gone, taken, and the inode that it names; none when it is held, not ours, or gone.
fn taken(lock: &Path) -> io::Result<Option<(File, Option<u64>)>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = match OpenOptions::new().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(lock) {
        // Also of another user, or a link.
        Err(_) => return Ok(None),
        Ok(file) => file,
    };
    let found = file.metadata()?;
    let is_ours = found.is_file() && found.uid() == us() && found.nlink() == 1;
    if !is_ours || !is_locked_by(&file, lock)? {
        return Ok(None);
    }
    let mut text = Vec::new();
    Read::by_ref(&mut file).take(LONGEST_MARK).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.strip_prefix(MARK).map(|inode| (file, inode.trim_end().parse().ok())))
}

/// Takes the lock; whether it is ours now and the file still the one of that name.
fn is_locked_by(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let held = file.metadata()?;
    match path.symlink_metadata() {
        Err(error) if is_absent(&error) => Ok(false),
        named => named.map(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())),
    }
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Removes a directory that another run made with everything in it, if it is the one; one of which nobody noted which it is
/// has nothing in it.
fn remove(path: &Path, inode: Option<u64>) -> anyhow::Result<()> {
    if inode.is_none() {
        return fs::remove_dir(path).with_context(|| format!("could not remove {}", path.display()));
    }
    unmount(path)?;
    if Some(path.symlink_metadata()?.ino()) != inode {
        bail!("{} is no directory of ours: somebody put another one in its place", path.display());
    }
    remove_all(path)
}

/// Unmounts what is mounted on a directory and below it.
fn unmount(path: &Path) -> anyhow::Result<()> {
    let mut mounted = mounts::at_or_below(path)?;
    // What was mounted last lies deepest or on top.
    while let Some(mount) = mounted.pop() {
        rustix::mount::unmount(&mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .with_context(|| format!("could not unmount {}", mount.display()))?;
    }
    if let Some(mount) = mounts::at_or_below(path)?.first() {
        bail!("{} is left behind, because {} is mounted", path.display(), mount.display());
    }
    Ok(())
}

fn remove_all(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if !is_absent(&error) => Err(error).with_context(|| format!("could not remove {}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What a process that is killed leaves: directory and lock, which nobody holds any more.
    fn abandoned(parent: &Path, name: &str) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        let inode = path.metadata().unwrap().ino();
        fs::write(parent.join(format!("{name}.lock")), format!("{MARK}{inode}\n")).unwrap();
        path
    }

    fn names(parent: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_goes_with_its_lock_and_links_are_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("kept")).unwrap();
        fs::write(parent.path().join("kept/file"), "x").unwrap();
        let scratch = Scratch::new_in(parent.path(), "cachewarm-").unwrap();
        assert_eq!(scratch.path().metadata().unwrap().mode() & 0o7777, 0o700);
        symlink(parent.path().join("kept"), scratch.path().join("link")).unwrap();
        assert!(left_in(parent.path()).unwrap().is_empty());
        drop(scratch);
        assert_eq!(names(parent.path()), ["kept"]);
        assert!(parent.path().join("kept/file").exists());
    }

    #[test]
    fn what_a_killed_run_left_goes_with_the_next_one_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let dead = abandoned(parent.path(), ".cachewarm-shadow-dead");
        fs::write(dead.join("file"), "x").unwrap();
        fs::write(parent.path().join("cachewarm-alone.lock"), format!("{MARK}4\n")).unwrap();
        let working = Scratch::new_in(parent.path(), "cachewarm-").unwrap();
        assert!(!dead.exists());
        // Without a lock, of another name, and a link that has the name of one.
        fs::create_dir(parent.path().join("cachewarm-other")).unwrap();
        abandoned(parent.path(), "other");
        fs::create_dir(parent.path().join("target")).unwrap();
        fs::write(parent.path().join("cachewarm-link.lock"), format!("{MARK}4\n")).unwrap();
        symlink(parent.path().join("target"), parent.path().join("cachewarm-link")).unwrap();
        // With a lock that is not ours, in the place of one of ours, and of one of which nobody noted which it is.
        for (name, lock) in
            [("root", String::new()), ("log", "12".into()), ("new", format!("{MARK}4\n")), ("odd", MARK.into())]
        {
            let path = abandoned(parent.path(), &format!("cachewarm-{name}"));
            fs::write(path.with_extension("lock"), lock).unwrap();
            fs::write(path.join("file"), "theirs").unwrap();
        }
        let before = names(parent.path());
        sweep(parent.path());
        assert_eq!(names(parent.path()), before);
        drop(working);
        assert_eq!(names(parent.path()).len(), before.len() - 2);
    }

    #[test]
    fn what_is_mounted_in_it_is_unmounted_and_not_emptied() {
        let parent = tempfile::tempdir().unwrap();
        let original = parent.path().join("original");
        fs::create_dir(&original).unwrap();
        fs::write(original.join("file"), "x").unwrap();
        let dead = abandoned(parent.path(), "cachewarm-dead");
        fs::create_dir(dead.join("deep")).unwrap();
        rustix::mount::mount_bind(&original, &dead).unwrap();
        fs::create_dir(dead.join("deeper")).unwrap();
        rustix::mount::mount_bind(&original, dead.join("deeper")).unwrap();
        sweep(parent.path());
        assert_eq!(names(parent.path()), ["original"]);
        assert_eq!(names(&original), ["deeper", "file"]);
    }
}
