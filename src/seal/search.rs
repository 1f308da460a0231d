//! Searches files for what no image may hold: every byte, unpacked where they are compressed, on all processors.
//!
//! Names of files and targets of links count as well. Nothing is changed, no link is followed, no other mount is entered,
//! holes are skipped, and memory is bounded by a buffer a thread. What cannot be read is a result, never passed over.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, OFlags, fstat, readlinkat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::data::Data;
use super::needles::{Found, Needles, Shapes};
use crate::beneath;
use crate::cancel::interrupted;
use crate::compression::{self, Compression};
use crate::event::{Event, Events};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Files that wait for a thread.
const WAITING: usize = 1000;

/// What a compressed file may unpack to, in bytes: this much at least, and so many times its own length at most.
const UNPACKED: u64 = if cfg!(test) { 8 << 20 } else { 1 << 30 };
const UNPACKED_RATIO: u64 = 100;
/// What any compressed file may unpack to, in bytes.
const UNPACKED_AT_MOST: u64 = 1 << 36;

/// Bytes of files that a thread looks through before it says so.
const SAID_AT: u64 = 32 << 20;
/// Files that it looks through before it says so.
const SAID_AFTER: u64 = 1000;

/// How a search is cancelled, and where its progress goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch<'a> {
    /// Cancels the search.
    pub(super) cancel: &'a CancellationToken,
    /// Receives progress.
    pub(super) events: &'a Events,
}

/// A directory whose files are searched.
pub(super) struct Place<'a> {
    /// Where it is.
    pub(super) path: &'a Path,
    /// The path below it where the search begins; empty for all of it.
    pub(super) start: PathBuf,
    /// Which shapes count at a path below it.
    pub(super) shapes: &'a (dyn Fn(&Path) -> Shapes + Sync),
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    /// The file.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) found: Found,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// In the order of the files.
    pub(super) hits: BTreeSet<Hit>,
    /// Files that could not be read, and why.
    pub(super) unread: Vec<(PathBuf, String)>,
    /// Files that were looked through.
    pub(super) files: u64,
    /// Bytes of them, as they lie on disk.
    pub(super) bytes: u64,
}

impl Searched {
    /// What was found elsewhere as well.
    pub(super) fn add(&mut self, other: Searched) {
        self.hits.extend(other.hits);
        self.unread.extend(other.unread);
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// Searches places, but not what is in `left_out`, which are whole paths.
///
/// # Errors
/// When the run is cancelled.
pub(super) fn search(
    needles: &Needles,
    places: &[Place<'_>],
    left_out: &HashSet<PathBuf>,
    watch: Watch<'_>,
) -> anyhow::Result<Searched> {
    let mut all = Searched::default();
    for place in places {
        match beneath::directory(place.path) {
            Ok(directory) => all.add(Tree { place, directory, needles, left_out, watch }.search()),
            Err(error) if beneath::is_absent(&error) => {}
            Err(error) => all.unread.push((place.path.to_owned(), error.to_string())),
        }
    }
    match watch.cancel.is_cancelled() {
        true => Err(interrupted()),
        false => Ok(all),
    }
}

/// A directory that is searched.
struct Tree<'a> {
    place: &'a Place<'a>,
    directory: OwnedFd,
    needles: &'a Needles,
    left_out: &'a HashSet<PathBuf>,
    watch: Watch<'a>,
}

impl Tree<'_> {
    fn search(&self) -> Searched {
        let (sender, receiver) = sync_channel::<PathBuf>(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let worker = |_| {
                let receiver = receiver.clone();
                scope.spawn(move || self.work(&receiver))
            };
            let workers: Vec<_> = (0..threads).map(worker).collect();
            // If all of them panic, nobody waits for them.
            drop(receiver);
            let mut searched = self.walk(&sender);
            // Without a sender the workers end.
            drop(sender);
            for worker in workers {
                searched.add(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            searched
        })
    }

    /// Visits every entry, and sends the files to the workers.
    fn walk(&self, files: &SyncSender<PathBuf>) -> Searched {
        let mut searched = Searched::default();
        let mut left = vec![self.place.start.clone()];
        while let Some(path) = left.pop() {
            if self.watch.cancel.is_cancelled() || self.left_out.contains(&self.whole(&path)) {
                continue;
            }
            match self.visit(&path, &mut left, files, &mut searched) {
                // What is mounted there is no part of this file system.
                Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {}
                Err(error) if beneath::is_absent(&error) => {}
                Err(error) => searched.unread.push((self.whole(&path), error.to_string())),
                Ok(()) => {}
            }
        }
        searched
    }

    fn visit(
        &self,
        path: &Path,
        left: &mut Vec<PathBuf>,
        files: &SyncSender<PathBuf>,
        searched: &mut Searched,
    ) -> io::Result<()> {
        let entry = beneath::open(&self.directory, path, OFlags::PATH | OFlags::NOFOLLOW)?;
        self.look_at(path, path.file_name().unwrap_or_default(), searched);
        match FileType::from_raw_mode(fstat(&entry)?.st_mode) {
            FileType::Symlink => {
                let target = readlinkat(&entry, "", Vec::new())?;
                self.look_at(path, OsStr::from_bytes(target.as_bytes()), searched);
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let names = beneath::entries(beneath::open(&self.directory, path, flags)?)?;
                left.extend(names.into_iter().map(|name| path.join(name)));
            }
            FileType::RegularFile if self.needles.count((self.place.shapes)(path)) => {
                // Only panicking workers hang up, and that ends the search anyway.
                let _ = files.send(path.to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn look_at(&self, path: &Path, name: &OsStr, searched: &mut Searched) {
        let mut found = BTreeSet::new();
        self.needles.look(name.as_bytes(), Shapes::No, &mut found);
        searched.hits.extend(found.into_iter().map(|found| Hit { path: self.whole(path), found }));
    }

    fn whole(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.place.path.to_owned() } else { self.place.path.join(path) }
    }

    fn work(&self, files: &Mutex<Receiver<PathBuf>>) -> Searched {
        let mut searched = Searched::default();
        let mut said = (0, 0);
        let mut buffer = Vec::new();
        loop {
            let (files_since, bytes) = (searched.files - said.0, searched.bytes - said.1);
            let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
            if files_since > 0 && (next.is_err() || files_since >= SAID_AFTER || bytes >= SAID_AT) {
                self.watch.events.emit(Event::Searched { files: files_since, bytes });
                said = (searched.files, searched.bytes);
            }
            let Ok(path) = next else { return searched };
            if self.watch.cancel.is_cancelled() {
                continue;
            }
            let mut found = BTreeSet::new();
            match self.look_through(&path, &mut buffer, &mut found) {
                Ok(bytes) => {
                    searched.files += 1;
                    searched.bytes += bytes;
                }
                Err(error) if beneath::is_absent(&error) => {}
                Err(error) => searched.unread.push((self.whole(&path), error.to_string())),
            }
            searched.hits.extend(found.into_iter().map(|found| Hit { path: self.whole(&path), found }));
        }
    }

    /// Searches a file, and once more what it unpacks to. Gives the bytes of its data.
    fn look_through(&self, path: &Path, buffer: &mut Vec<u8>, found: &mut BTreeSet<Found>) -> io::Result<u64> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = File::from(beneath::open(&self.directory, path, flags)?);
        let shapes = (self.place.shapes)(path);
        let (needles, cancel) = (self.needles, self.watch.cancel);
        let mut look = |stream: &mut dyn Read| stream_through(needles, stream, shapes, buffer, found, cancel);
        let bytes = look(&mut Data::of(&file)?)?;
        file.rewind()?;
        let mut packed = BufReader::new(&file);
        if let Some(format) = Compression::of(&mut packed)? {
            let most = bytes.saturating_mul(UNPACKED_RATIO).clamp(UNPACKED, UNPACKED_AT_MOST);
            match look(&mut format.unpacked(packed).take(most)) {
                Ok(unpacked) if unpacked == most => {
                    return Err(io::Error::other(format!("it unpacks to more than {most} bytes, which were searched")));
                }
                // What is damaged is searched up to there: a layer's file may only begin like an archive.
                Err(error) if !compression::is_damage(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(bytes)
    }
}

fn stream_through(
    needles: &Needles,
    stream: &mut dyn Read,
    shapes: Shapes,
    buffer: &mut Vec<u8>,
    found: &mut BTreeSet<Found>,
    cancel: &CancellationToken,
) -> io::Result<u64> {
    let overlap = needles.overlap();
    buffer.resize(PIECE + overlap, 0);
    let (mut kept, mut bytes) = (0, 0);
    while !cancel.is_cancelled() {
        let (read, ended) = fill(stream, &mut buffer[kept..])?;
        bytes += read as u64;
        needles.look(&buffer[..kept + read], shapes, found);
        if let Some(error) = ended {
            return error.map_or(Ok(bytes), Err);
        }
        let length = kept + read;
        kept = overlap.min(length);
        buffer.copy_within(length - kept..length, 0);
    }
    Ok(bytes)
}

/// Fills a buffer. Gives how much was read, and at the end of the stream what ended it: nothing in particular, or an error.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<(usize, Option<Option<io::Error>>)> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Ok((filled, Some(None))),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // What came before it is looked through.
            Err(error) => return Ok((filled, Some(Some(error)))),
        }
    }
    Ok((filled, None))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::needles::Known;
    use super::*;
    use crate::auth::Secret;
    use crate::compression::tests::{gzip, zstd};

    const SECRET: &str = "correct horse battery staple";

    fn searched(folder: &Path, left_out: &[PathBuf]) -> Searched {
        let needles = Needles::of(&[Known { name: "it".into(), value: Secret::from_bytes(SECRET) }]).unwrap();
        let place = Place { path: folder, start: PathBuf::new(), shapes: &|_| Shapes::Tokens };
        let watch = Watch { cancel: &CancellationToken::new(), events: &Events::nobody() };
        search(&needles, &[place], &left_out.iter().cloned().collect(), watch).unwrap()
    }

    #[test]
    fn every_byte_of_every_file_is_looked_at_compressed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let around = |before: usize| [&vec![b'x'; before][..], SECRET.as_bytes(), &[b'y'; 10]].concat();
        fs::create_dir_all(path("deep/er")).unwrap();
        // Across the border of two pieces, wherever that is.
        for (name, before) in [("a", 0), ("b", PIECE - 5), ("c", PIECE + 4096 - 5), ("d", 2 * PIECE + 4096 - 1)] {
            fs::write(path("deep").join(name), around(before)).unwrap();
        }
        fs::write(path("deep/er/gz"), gzip(&around(3 * PIECE))).unwrap();
        fs::write(path("deep/er/zst"), zstd(&around(3 * PIECE))).unwrap();
        fs::write(path("not zstd"), [0x28, 0xB5, 0x2F, 0xFD, 1, 2]).unwrap();
        let whole = gzip(&around(5));
        fs::write(path("cut"), [&whole[..], &whole[..20]].concat()).unwrap();
        std::os::unix::fs::symlink(SECRET, path("link")).unwrap();
        fs::write(path(&format!("named {SECRET}")), "").unwrap();
        fs::write(path("clean"), "nothing").unwrap();
        fs::write(path("not gzip"), [0x1F, 0x8B, 1, 2]).unwrap();
        fs::write(path("shaped"), "token=ghp_0123456789abcdef0123").unwrap();
        fs::write(path("ignored"), SECRET).unwrap();
        // A terabyte of nothing, with the secret in its middle and cut in two by a hole.
        let sparse = fs::File::create(path("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, SECRET.as_bytes(), 1 << 39).unwrap();

        let found = searched(folder.path(), &[path("ignored")]);

        let names: Vec<_> = found.hits.iter().map(|hit| hit.path.strip_prefix(folder.path()).unwrap()).collect();
        let named = format!("named {SECRET}");
        let expected = [
            "cut",
            "deep/a",
            "deep/b",
            "deep/c",
            "deep/d",
            "deep/er/gz",
            "deep/er/zst",
            "link",
            &named,
            "shaped",
            "sparse",
        ];
        assert_eq!(names, expected.map(Path::new));
        assert_eq!((found.files, found.unread), (13, vec![]));
    }

    #[test]
    fn an_archive_without_an_end_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bomb"), gzip(&vec![0; 16 << 20])).unwrap();
        let found = searched(folder.path(), &[]);
        assert!(found.unread[0].1.contains("unpacks to more than"), "{found:?}");
    }

    #[test]
    fn links_that_lead_elsewhere_are_not_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("file"), SECRET).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("file"), folder.path().join("file")).unwrap();
        assert!(searched(folder.path(), &[]).hits.is_empty());
    }

    #[test]
    fn what_is_not_there_is_no_error_and_an_end_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(searched(&folder.path().join("absent"), &[]).files, 0);
        let cancel = CancellationToken::new();
        cancel.cancel();
        let needles = Needles::of(&[]).unwrap();
        let place = Place { path: folder.path(), start: PathBuf::new(), shapes: &|_| Shapes::All };
        let watch = Watch { cancel: &cancel, events: &Events::nobody() };
        assert!(search(&needles, &[place], &HashSet::new(), watch).is_err());
    }
}
