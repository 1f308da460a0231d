//! Looks through files for what no image may hold: every byte, unpacked where they are compressed, on all processors.
//!
//! Names of files and targets of links count as well. Nothing is changed, no link is followed, and memory is bounded by a
//! buffer a thread.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use tokio_util::sync::CancellationToken;

use super::needles::{Found, Needles, Shapes};
use crate::buildkit::interrupted;
use crate::compression::{self, Compression};
use crate::event::{Event, Events};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Files that wait for a thread.
const WAITING: usize = 1000;

/// Bytes of files that a thread looks through before it says so.
const SAID_AT: u64 = 32 << 20;
/// Files that it looks through before it says so.
const SAID_AFTER: u64 = 1000;

/// Who may end a search, and who is told how far it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch<'a> {
    /// Ends it.
    pub(super) cancel: &'a CancellationToken,
    /// Is told.
    pub(super) events: &'a Events,
}

/// Somewhere to look: a file, or a directory with everything in it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Where.
    pub(super) path: PathBuf,
    /// Which shapes count there.
    pub(super) shapes: Shapes,
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

/// Looks through places, but not through what is in `left_out`.
///
/// # Errors
/// When somebody ends the run.
pub(super) fn search(
    needles: &Needles,
    places: &[Place],
    left_out: &HashSet<PathBuf>,
    watch: Watch<'_>,
) -> anyhow::Result<Searched> {
    let (sender, receiver) = sync_channel::<Place>(WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let searched = std::thread::scope(|scope| {
        let worker = |_| {
            let receiver = receiver.clone();
            scope.spawn(move || work(needles, &receiver, watch))
        };
        let workers: Vec<_> = (0..threads).map(worker).collect();
        // Where all of them have panicked nobody is to wait for them.
        drop(receiver);
        let mut walk = Walk { left_out, cancel: watch.cancel, sender, searched: Searched::default(), needles };
        for place in places {
            walk.enter(place);
        }
        let Walk { mut searched, sender, .. } = walk;
        // Without it the workers end.
        drop(sender);
        for worker in workers {
            searched.add(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        searched
    });
    match watch.cancel.is_cancelled() {
        true => Err(interrupted()),
        false => Ok(searched),
    }
}

struct Walk<'a> {
    left_out: &'a HashSet<PathBuf>,
    cancel: &'a CancellationToken,
    sender: SyncSender<Place>,
    searched: Searched,
    needles: &'a Needles,
}

impl Walk<'_> {
    fn enter(&mut self, place: &Place) {
        let mut directories = vec![place.path.clone()];
        while let Some(path) = directories.pop() {
            if self.cancel.is_cancelled() || self.left_out.contains(&path) {
                continue;
            }
            if let Err(error) = self.visit(path.clone(), place.shapes, &mut directories)
                && error.kind() != ErrorKind::NotFound
            {
                self.searched.unread.push((path, error.to_string()));
            }
        }
    }

    fn visit(&mut self, path: PathBuf, shapes: Shapes, directories: &mut Vec<PathBuf>) -> io::Result<()> {
        let metadata = fs::symlink_metadata(&path)?;
        self.look_at(&path, path.file_name().unwrap_or_default());
        if metadata.is_symlink() {
            let target = fs::read_link(&path)?;
            self.look_at(&path, target.as_os_str());
        } else if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                directories.push(entry?.path());
            }
        } else if metadata.is_file() {
            // Only panicking workers hang up, and that ends the search anyway.
            let _ = self.sender.send(Place { path, shapes });
        }
        Ok(())
    }

    fn look_at(&mut self, path: &Path, name: &OsStr) {
        let mut found = BTreeSet::new();
        self.needles.look(name.as_bytes(), Shapes::No, &mut found);
        self.searched.hits.extend(found.into_iter().map(|found| Hit { path: path.to_owned(), found }));
    }
}

fn work(needles: &Needles, places: &Mutex<Receiver<Place>>, watch: Watch<'_>) -> Searched {
    let cancel = watch.cancel;
    let mut searched = Searched::default();
    let mut said = (0, 0);
    let mut buffer = Vec::new();
    loop {
        let (files, bytes) = (searched.files - said.0, searched.bytes - said.1);
        let next = places.lock().unwrap_or_else(PoisonError::into_inner).recv();
        if files > 0 && (next.is_err() || files >= SAID_AFTER || bytes >= SAID_AT) {
            watch.events.emit(Event::Searched { files, bytes });
            said = (searched.files, searched.bytes);
        }
        let Ok(Place { path, shapes }) = next else { return searched };
        if cancel.is_cancelled() {
            continue;
        }
        let mut found = BTreeSet::new();
        match look_through(needles, &path, shapes, &mut buffer, &mut found, cancel) {
            Ok(bytes) => {
                searched.files += 1;
                searched.bytes += bytes;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => searched.unread.push((path.clone(), error.to_string())),
        }
        searched.hits.extend(found.into_iter().map(|found| Hit { path: path.clone(), found }));
    }
}

/// Looks through a file, and once more through what it unpacks to. Gives its length.
fn look_through(
    needles: &Needles,
    path: &Path,
    shapes: Shapes,
    buffer: &mut Vec<u8>,
    found: &mut BTreeSet<Found>,
    cancel: &CancellationToken,
) -> io::Result<u64> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut look = |stream: &mut dyn Read| stream_through(needles, stream, shapes, buffer, found, cancel);
    let bytes = look(&mut file)?;
    file.rewind()?;
    let mut packed = BufReader::new(&file);
    if let Some(format) = Compression::of(&mut packed)? {
        // What is damaged is looked through up to there: a layer's file may only begin like an archive.
        match look(&mut *format.unpacked(packed)) {
            Err(error) if !compression::is_damage(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(bytes)
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
    use super::super::needles::Known;
    use super::*;
    use crate::auth::Secret;
    use crate::compression::tests::{gzip, zstd};

    const SECRET: &str = "correct horse battery staple";

    fn searched(folder: &Path, left_out: &[PathBuf]) -> Searched {
        let needles = Needles::of(&[Known { name: "it".into(), value: Secret::new(SECRET) }]).unwrap();
        let place = Place { path: folder.to_owned(), shapes: Shapes::Tokens };
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

        let found = searched(folder.path(), &[path("ignored")]);

        let names: Vec<_> = found.hits.iter().map(|hit| hit.path.strip_prefix(folder.path()).unwrap()).collect();
        let named = format!("named {SECRET}");
        let expected =
            ["cut", "deep/a", "deep/b", "deep/c", "deep/d", "deep/er/gz", "deep/er/zst", "link", &named, "shaped"];
        assert_eq!(names, expected.map(Path::new));
        assert_eq!((found.files, found.unread), (12, vec![]));
    }

    #[test]
    fn what_is_not_there_is_no_error_and_an_end_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(searched(&folder.path().join("absent"), &[]).files, 0);
        let cancel = CancellationToken::new();
        cancel.cancel();
        let needles = Needles::of(&[]).unwrap();
        let place = Place { path: folder.path().to_owned(), shapes: Shapes::All };
        let watch = Watch { cancel: &cancel, events: &Events::nobody() };
        assert!(search(&needles, &[place], &HashSet::new(), watch).is_err());
    }
}
