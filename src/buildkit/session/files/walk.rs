//! Walks a tree in the order the receiver wants, and hands on what the filter lets through.
//!
//! **Invariant:** a directory comes before its content, siblings come in byte order of their names, and whoever is
//! handed on has had its parents handed on before. The walk holds one listing per level and forgets it on the way
//! back; it knows nothing of the protocol beyond what one entry looks like.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use rustix::fs::{FileType, Stat};

use super::announced::{Announced, Content, Number, ROOT};
use super::directory::{self, Directory, Named};
use super::filter::{Above, Filter, Verdict};
use super::wire;

/// Takes each entry as it is found; an error ends the walk.
type Emit<'a> = dyn FnMut(wire::Stat) -> anyhow::Result<()> + 'a;

/// Walks a directory.
pub(super) fn walk_directory(
    directory: &Directory,
    filter: &Filter,
    announced: &Mutex<Announced>,
    emit: &mut Emit<'_>,
) -> anyhow::Result<()> {
    let shown = directory.path.display();
    let at = directory.open().with_context(|| format!("could not open {shown}"))?;
    let names = directory::list(&at).with_context(|| format!("could not list {shown}"))?;
    let root = Level { at, names: names.into_iter(), path: Vec::new(), above: Above::default(), number: Some(ROOT) };
    Walk { directory, filter, announced, emit, levels: vec![root], linked: HashMap::new() }.run()
}

struct Walk<'a> {
    directory: &'a Directory,
    filter: &'a Filter,
    announced: &'a Mutex<Announced>,
    emit: &'a mut Emit<'a>,
    levels: Vec<Level>,
    /// The first entry handed on of each file that has several names, by device and inode.
    linked: HashMap<(u64, u64), Number>,
}

/// A directory on the way from the root to where the walk is.
struct Level {
    at: OwnedFd,
    names: std::vec::IntoIter<Named>,
    path: Vec<u8>,
    above: Above,
    /// None while the directory itself was not handed on.
    number: Option<Number>,
}

impl Walk<'_> {
    fn run(mut self) -> anyhow::Result<()> {
        while let Some(level) = self.levels.last_mut() {
            let Some((name, kind)) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let (verdict, above) = self.filter.judge(&path, kind.is_dir(), &level.above)?;
            let visited = self.visit(&path, &name, kind, verdict, above);
            visited.with_context(|| self.shown(&path))?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        path: &[u8],
        name: &[u8],
        kind: FileType,
        verdict: Verdict,
        above: Above,
    ) -> anyhow::Result<()> {
        if verdict == Verdict::Leave {
            return Ok(());
        }
        let number = match verdict {
            Verdict::Send => match self.send(path, name)? {
                Some(number) => Some(number),
                None => return Ok(()),
            },
            _ => None,
        };
        if kind.is_dir() {
            let Some(level) = self.levels.last() else { return Ok(()) };
            match directory::open_directory(&level.at, name).and_then(|at| Ok((directory::list(&at)?, at))) {
                Ok((names, at)) => {
                    let names = names.into_iter();
                    self.levels.push(Level { at, names, path: path.to_vec(), above, number });
                }
                Err(error) if directory::leads_nowhere(&error) => {}
                // What is not sent need not be readable.
                Err(error) if number.is_none() && error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error).context("could not list the directory"),
            }
        }
        Ok(())
    }

    /// Hands an entry on, after those of its parents that were not; none if it went away meanwhile.
    fn send(&mut self, path: &[u8], name: &[u8]) -> anyhow::Result<Option<Number>> {
        let Some(level) = self.levels.last() else { return Ok(None) };
        let (stat, link) = match look(&level.at, name) {
            Ok(found) => found,
            Err(error) if directory::leads_nowhere(&error) => return Ok(None),
            Err(error) => return Err(error).context("could not look at it"),
        };
        let described = match self.directory.describe(path, &stat, link) {
            Ok(described) => described,
            Err(error) if directory::leads_nowhere(&error) => return Ok(None),
            Err(error) => return Err(error).context("could not read its extended attributes"),
        };
        let parent = self.send_parents()?;
        self.hand_on(parent, name, &stat, described).map(Some)
    }

    /// Hands on the directories down to where the walk is; the number of the last one.
    fn send_parents(&mut self) -> anyhow::Result<Number> {
        let mut parent = ROOT;
        for depth in 0..self.levels.len() {
            let level = &self.levels[depth];
            parent = match level.number {
                Some(number) => number,
                None => {
                    let stat = rustix::fs::fstat(&level.at)?;
                    let described = self.directory.describe(&level.path, &stat, Vec::new());
                    let described = described.with_context(|| self.shown(&level.path))?;
                    let name = super::go_path::base(&level.path).to_vec();
                    let number = self.hand_on(parent, &name, &stat, described)?;
                    self.levels[depth].number = Some(number);
                    number
                }
            };
        }
        Ok(parent)
    }

    fn hand_on(
        &mut self,
        parent: Number,
        name: &[u8],
        stat: &Stat,
        mut described: wire::Stat,
    ) -> anyhow::Result<Number> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let content = match kind {
            FileType::RegularFile => Content::File,
            FileType::Socket => Content::Empty,
            _ => Content::None,
        };
        let number = add(self.announced, parent, name, content)?;
        if stat.st_nlink > 1 && !kind.is_dir() && !kind.is_symlink() {
            let first = *self.linked.entry((stat.st_dev, stat.st_ino)).or_insert(number);
            if first != number {
                described.link = self.announced.lock().unwrap_or_else(PoisonError::into_inner).path(first);
            }
        }
        (self.emit)(described)?;
        Ok(number)
    }

    fn shown(&self, path: &[u8]) -> String {
        format!("{}/{}", self.directory.path.display(), String::from_utf8_lossy(path))
    }
}

fn look(at: &OwnedFd, name: &[u8]) -> io::Result<(Stat, Vec<u8>)> {
    let stat = directory::look(at, name)?;
    let link = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => directory::link_target(at, name)?,
        _ => Vec::new(),
    };
    Ok((stat, link))
}

fn add(announced: &Mutex<Announced>, parent: Number, name: &[u8], content: Content) -> anyhow::Result<Number> {
    // Adding leaves the list whole whatever happens, so a poisoned lock is no worse than another.
    announced.lock().unwrap_or_else(PoisonError::into_inner).add(parent, name, content)
}
