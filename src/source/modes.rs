//! Which permission bits BuildKit should see for a file, whatever the umask of whoever checked it out.
//!
//! BuildKit's content checksum takes in a file's mode, and git records only whether a file is executable. So what git
//! tracks has the modes a checkout under umask 022 would give it (CI's), and everything else has those on disk.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TYPE_BITS: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const PERMISSION_BITS: u32 = 0o7777;

/// How a git work tree's entries are recorded; paths are relative to its root, in bytes.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    entries: HashMap<Box<[u8]>, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File,
    Executable,
    Directory,
}

impl Recorded {
    /// Takes in one entry of an index, by git's mode; `prefix` is the submodule it is in (`lib/`), or empty.
    pub(super) fn add(&mut self, prefix: &[u8], path: &[u8], mode: u32) {
        let full = [prefix, path].concat();
        self.add_parents(&full);
        let entry = match mode {
            0o100_755 => Entry::Executable,
            0o160_000 => {
                // git itself writes this file, so its mode follows the umask as well.
                self.entries.insert([full.as_slice(), b"/.git"].concat().into(), Entry::File);
                Entry::Directory
            }
            mode if mode & TYPE_BITS == REGULAR => Entry::File,
            // A symbolic link's permissions are the same everywhere.
            _ => return,
        };
        self.entries.insert(full.into(), entry);
    }

    fn add_parents(&mut self, path: &[u8]) {
        let mut end = path.len();
        while let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') {
            end = slash;
            if self.entries.insert(path[..end].into(), Entry::Directory).is_some() {
                return;
            }
        }
        self.entries.insert(Box::default(), Entry::Directory);
    }
}

/// Answers for any path; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modes(Option<Arc<Tree>>);

#[derive(Debug)]
struct Tree {
    root: PathBuf,
    recorded: Recorded,
}

impl Modes {
    /// Modes as on disk, for everything.
    pub(crate) fn as_on_disk() -> Modes {
        Modes(None)
    }

    /// Modes as recorded, below `root`, which must be absolute and without symbolic links.
    pub(super) fn recorded(root: PathBuf, recorded: Recorded) -> Modes {
        Modes(Some(Arc::new(Tree { root, recorded })))
    }

    /// The permission bits (with setuid, setgid and sticky) BuildKit should see for an absolute path that has
    /// `on_disk` as its `st_mode`.
    pub(crate) fn permissions(&self, path: &Path, on_disk: u32) -> u32 {
        let entry = self.0.as_deref().and_then(|tree| {
            let relative = path.strip_prefix(&tree.root).ok()?;
            tree.recorded.entries.get(relative.as_os_str().as_bytes())
        });
        match (entry, on_disk & TYPE_BITS) {
            (Some(Entry::File), REGULAR | 0) => 0o644,
            (Some(Entry::Executable), REGULAR | 0) => 0o755,
            (Some(Entry::Directory), DIRECTORY | 0) => 0o755,
            // Not tracked, or changed into something else since.
            _ => on_disk & PERMISSION_BITS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes() -> Modes {
        let mut recorded = Recorded::default();
        recorded.add(b"", b"a/b/run.sh", 0o100_755);
        recorded.add(b"", b"a/text", 0o100_644);
        recorded.add(b"", b"link", 0o120_000);
        recorded.add(b"", b"lib", 0o160_000);
        recorded.add(b"lib/", b"c", 0o100_644);
        Modes::recorded("/src".into(), recorded)
    }

    #[test]
    fn what_git_tracks_has_the_modes_git_records() {
        let of = |path: &str, on_disk: u32| format!("{:o}", modes().permissions(Path::new(path), on_disk));
        assert_eq!(of("/src/a/b/run.sh", 0o100_700), "755");
        assert_eq!(of("/src/a/text", 0o100_664), "644");
        assert_eq!(of("/src/a/b", 0o042_770), "755");
        assert_eq!(of("/src", 0o040_700), "755");
        assert_eq!(of("/src/lib", 0o040_700), "755");
        assert_eq!(of("/src/lib/.git", 0o100_600), "644");
        assert_eq!(of("/src/lib/c", 0o100_600), "644");
    }

    #[test]
    fn everything_else_is_as_on_disk() {
        let of = |path: &str, on_disk: u32| format!("{:o}", modes().permissions(Path::new(path), on_disk));
        assert_eq!(of("/src/untracked", 0o100_600), "600");
        assert_eq!(of("/src/link", 0o120_777), "777");
        assert_eq!(of("/src/a/text", 0o040_700), "700");
        assert_eq!(of("/srcx/a/text", 0o104_711), "4711");
        assert_eq!(Modes::as_on_disk().permissions(Path::new("/src/a/text"), 0o100_600), 0o600);
    }
}
