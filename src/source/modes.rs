//! Which permission bits BuildKit should see for a file.
//!
//! BuildKit's content checksum takes in a file's mode, and git records only whether a file is executable: the rest is the
//! umask of whoever checked it out. A directory that somebody gave us is as it is on disk. What git tracks in a clone of
//! ours has the modes that a checkout under CI's umask gives it, and everything else has those on disk.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;

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

/// What `--modes` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModeRule {
    /// As on disk.
    Disk,
    /// As a checkout under this umask gives what git tracks.
    Umask(u32),
}

impl ModeRule {
    /// As git itself and most of CI check out.
    pub(crate) const GIT: ModeRule = ModeRule::Umask(0o022);
}

impl FromStr for ModeRule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<ModeRule> {
        match text {
            "disk" => return Ok(ModeRule::Disk),
            "git" => return Ok(ModeRule::GIT),
            _ => {}
        }
        let digits = text.strip_prefix("umask=").context("it is no rule for modes")?;
        let is_octal = (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let umask = u32::from_str_radix(digits, 8).ok().filter(|umask| is_octal && *umask <= 0o777);
        umask.map(ModeRule::Umask).with_context(|| format!("`{digits}` is no umask"))
    }
}

impl fmt::Display for ModeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModeRule::Disk => f.write_str("disk"),
            ModeRule::Umask(umask) => write!(f, "umask={umask:03o}"),
        }
    }
}

/// Answers for any path; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modes(Option<Arc<Tree>>);

#[derive(Debug)]
struct Tree {
    root: PathBuf,
    recorded: Recorded,
    umask: u32,
}

impl Modes {
    /// Modes as on disk, for everything.
    pub(crate) fn as_on_disk() -> Modes {
        Modes(None)
    }

    /// Modes of what is recorded below `root`, which must be absolute and without symbolic links.
    pub(super) fn recorded(root: PathBuf, recorded: Recorded, rule: ModeRule) -> Modes {
        match rule {
            ModeRule::Disk => Modes::as_on_disk(),
            ModeRule::Umask(umask) => Modes(Some(Arc::new(Tree { root, recorded, umask }))),
        }
    }

    /// Whose modes they are.
    pub(crate) fn rule(&self) -> ModeRule {
        self.0.as_deref().map_or(ModeRule::Disk, |tree| ModeRule::Umask(tree.umask))
    }

    /// The permission bits (with setuid, setgid and sticky) BuildKit should see for an absolute path that has
    /// `on_disk` as its `st_mode`.
    pub(crate) fn permissions(&self, path: &Path, on_disk: u32) -> u32 {
        let recorded = self.0.as_deref().and_then(|tree| {
            let relative = path.strip_prefix(&tree.root).ok()?;
            Some((tree.recorded.entries.get(relative.as_os_str().as_bytes())?, tree.umask))
        });
        match (recorded, on_disk & TYPE_BITS) {
            (Some((Entry::File, umask)), REGULAR | 0) => 0o666 & !umask,
            (Some((Entry::Executable, umask)), REGULAR | 0) => 0o777 & !umask,
            (Some((Entry::Directory, umask)), DIRECTORY | 0) => 0o777 & !umask,
            // Not tracked, or changed into something else since.
            _ => on_disk & PERMISSION_BITS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(rule: ModeRule) -> Modes {
        let mut recorded = Recorded::default();
        recorded.add(b"", b"a/b/run.sh", 0o100_755);
        recorded.add(b"", b"a/text", 0o100_644);
        recorded.add(b"", b"link", 0o120_000);
        recorded.add(b"", b"lib", 0o160_000);
        recorded.add(b"lib/", b"c", 0o100_644);
        Modes::recorded("/src".into(), recorded, rule)
    }

    #[test]
    fn what_git_tracks_has_the_modes_git_records() {
        let of = |path: &str, on_disk: u32| format!("{:o}", modes(ModeRule::GIT).permissions(Path::new(path), on_disk));
        assert_eq!(of("/src/a/b/run.sh", 0o100_700), "755");
        assert_eq!(of("/src/a/text", 0o100_664), "644");
        assert_eq!(of("/src/a/b", 0o042_770), "755");
        assert_eq!(of("/src", 0o040_700), "755");
        assert_eq!(of("/src/lib", 0o040_700), "755");
        assert_eq!(of("/src/lib/.git", 0o100_600), "644");
        assert_eq!(of("/src/lib/c", 0o100_600), "644");
    }

    #[test]
    fn a_umask_takes_from_what_git_records_what_it_takes_from_a_checkout() {
        let of = |rule: &str, path: &str| {
            let rule = rule.parse::<ModeRule>().expect("a rule");
            format!("{:o}", modes(rule).permissions(Path::new(path), 0o600))
        };
        let all = |rule: &str| ["/src/a/text", "/src/a/b/run.sh", "/src/a/b", "/src/other"].map(|path| of(rule, path));
        assert_eq!(all("git"), ["644", "755", "755", "600"]);
        assert_eq!(all("umask=000"), ["666", "777", "777", "600"]);
        assert_eq!(all("umask=0027"), ["640", "750", "750", "600"]);
        assert_eq!(all("disk"), ["600"; 4]);
        for odd in ["", "umask", "umask=", "umask=8", "umask=1777", "umask=+22", "umask=00022", "022"] {
            assert!(odd.parse::<ModeRule>().is_err(), "{odd}");
        }
    }

    #[test]
    fn everything_else_is_as_on_disk() {
        let of = |path: &str, on_disk: u32| format!("{:o}", modes(ModeRule::GIT).permissions(Path::new(path), on_disk));
        assert_eq!(of("/src/untracked", 0o100_600), "600");
        assert_eq!(of("/src/link", 0o120_777), "777");
        assert_eq!(of("/src/a/text", 0o040_700), "700");
        assert_eq!(of("/srcx/a/text", 0o104_711), "4711");
        assert_eq!(Modes::as_on_disk().permissions(Path::new("/src/a/text"), 0o100_600), 0o600);
    }
}
