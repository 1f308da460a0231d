//! Which commit a work tree is at, read from git's own files.
//!
//! libgit2 opens no clone whose format it does not know, and git none of another user. The commit is in plain files of every
//! one of them but those that keep names in tables, of which git itself is asked.
//!
//! **Invariant:** nothing that a checkout says is run or written: no configuration is read here, no more is taken out of its
//! files than a commit's id, and git is asked for what it needs no object, filter, hook or monitor to tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::beneath::is_absent;
use crate::{child, foreign};

/// Bytes of the largest file with one name or path.
const SMALL: u64 = 64 * 1024;
/// Bytes of the largest list of names.
const LARGEST_LIST: u64 = 256 * 1024 * 1024;
/// Names that lead to names.
const MOST_STEPS: usize = 5;
/// How long git may take to tell.
const PATIENCE: Duration = Duration::from_secs(20);

/// A work tree that was found, and what its HEAD is.
#[derive(Debug)]
pub(in crate::source) struct Located {
    /// Its root.
    pub(in crate::source) root: PathBuf,
    /// The commit; none when its branch has none yet.
    pub(in crate::source) head: anyhow::Result<Option<String>>,
}

/// The work tree that a directory lies in, if it lies in one. The directory is absolute and without symbolic links.
pub(in crate::source) fn locate(directory: &Path) -> Option<Located> {
    directory.ancestors().find_map(|root| {
        let git = root.join(".git");
        let metadata = fs::metadata(&git).ok()?;
        let folders = if metadata.is_dir() {
            // A directory that only has that name is none of git's.
            Ok(Folders::of(git).filter(Folders::are_gits)?)
        } else {
            linked(root, &git)
        };
        let head = folders.and_then(|folders| match folders.has_tables() {
            true => ask(root),
            false => folders.head(),
        });
        Some(Located { root: root.to_owned(), head })
    })
}

/// Where a `.git` that is a file leads to: that of a worktree or of a submodule.
fn linked(root: &Path, file: &Path) -> anyhow::Result<Folders> {
    let shown = file.display();
    let text = small(file)?.with_context(|| format!("{shown} went away"))?;
    let path = text.strip_prefix("gitdir: ").with_context(|| format!("{shown} is no file of git's"))?;
    let folders = Folders::of(root.join(path.trim_end_matches(['\n', '\r']))).filter(Folders::are_gits);
    folders.with_context(|| format!("{shown} leads to no repository"))
}

/// Where a work tree's own files are, and those that it shares with its others.
struct Folders {
    own: PathBuf,
    common: PathBuf,
}

impl Folders {
    fn of(own: PathBuf) -> Option<Folders> {
        let common = match small(&own.join("commondir")).ok()? {
            Some(path) => own.join(path.trim_end_matches(['\n', '\r'])),
            None => own.clone(),
        };
        Some(Folders { own, common })
    }

    /// Whether they are what git takes for a repository.
    fn are_gits(&self) -> bool {
        let has_head = fs::symlink_metadata(self.own.join("HEAD")).is_ok_and(|it| it.is_file() || it.is_symlink());
        has_head && ["objects", "refs"].iter().all(|name| self.common.join(name).is_dir())
    }

    fn has_tables(&self) -> bool {
        self.common.join("reftable").is_dir()
    }

    fn head(&self) -> anyhow::Result<Option<String>> {
        let mut text = match fs::read_link(self.own.join("HEAD")) {
            Ok(target) => format!("ref: {}", target.display()),
            Err(_) => small(&self.own.join("HEAD"))?.context("HEAD went away")?,
        };
        for _ in 0..MOST_STEPS {
            let Some(name) = text.strip_prefix("ref:").map(str::trim) else {
                let id = text.trim();
                ensure!(is_id(id), "HEAD leads to what is no commit");
                return Ok(Some(id.to_owned()));
            };
            let parts_are_plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
            ensure!(name.starts_with("refs/") && parts_are_plain, "HEAD leads out of the repository");
            let Some(next) = self.named(name)? else { return Ok(None) };
            text = next;
        }
        bail!("HEAD leads in a circle")
    }

    /// What a name stands for; none when there is no such name.
    fn named(&self, name: &str) -> anyhow::Result<Option<String>> {
        for folder in [&self.own, &self.common] {
            if let Some(text) = small(&folder.join(name))? {
                return Ok(Some(text));
            }
        }
        let Some(list) = text_of(&self.common.join("packed-refs"), LARGEST_LIST)? else { return Ok(None) };
        let id = list.lines().find_map(|line| line.split_once(' ').filter(|(_, listed)| *listed == name));
        Ok(id.map(|(id, _)| id.to_owned()))
    }
}

fn is_id(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn small(path: &Path) -> anyhow::Result<Option<String>> {
    text_of(path, SMALL)
}

/// A file's text; none when there is no such file.
fn text_of(path: &Path, limit: u64) -> anyhow::Result<Option<String>> {
    // A directory may have the name that a branch once had.
    if path.is_dir() || fs::symlink_metadata(path).is_err_and(|error| is_absent(&error)) {
        return Ok(None);
    }
    let bytes = foreign::read_regular(path, limit)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Asks git, which reads no more than names to tell.
fn ask(root: &Path) -> anyhow::Result<Option<String>> {
    let mut git = child::command("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_NAMESPACE"] {
        git.env_remove(name);
    }
    git.arg("-C").arg(root).args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    // A name that is not there is no error; an object that is not there is not fetched.
    git.args(["--no-optional-locks", "rev-parse", "--verify", "--quiet", "HEAD"]).env("GIT_ALLOW_PROTOCOL", "none");
    git.env("GIT_NO_LAZY_FETCH", "1").env("LC_ALL", "C");
    git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = git.spawn().context("could not start git, which knows how its names are kept")?;
    let begun = Instant::now();
    let ended = child::wait_unless(&mut running, || begun.elapsed() > PATIENCE)?.context("git did not answer")?;
    // Both are an id or a few lines, so that no pipe was full.
    let output = running.wait_with_output()?;
    let (id, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match ended.success() {
        true if is_id(id.trim()) => Ok(Some(id.trim().to_owned())),
        false if said.trim().is_empty() => Ok(None),
        _ => bail!("git said: {}", said.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What git takes for a repository, with these files.
    fn made(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["objects", "refs/heads"] {
            fs::create_dir_all(folder.path().join(".git").join(name)).expect("a folder");
        }
        for (name, text) in files {
            let path = folder.path().join(".git").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    fn head(files: &[(&str, &str)]) -> Result<Option<String>, String> {
        let folder = made(files);
        let located = locate(&folder.path().canonicalize().expect("it is there")).expect("it is a repository");
        located.head.map_err(|error| error.to_string())
    }

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn a_head_leads_to_a_commit_by_every_way_that_git_takes() {
        let line = format!("{ID}\n");
        let packed = format!("# pack-refs with: peeled\n{ID} refs/heads/main\n^{ID}\n");
        let branch = "ref: refs/heads/main\n";
        for files in [
            &[("HEAD", line.as_str())][..],
            &[("HEAD", branch), ("refs/heads/main", &line)],
            &[("HEAD", branch), ("packed-refs", &packed)],
            &[("HEAD", branch), ("refs/heads/main", "ref: refs/heads/other\n"), ("refs/heads/other", &line)],
            // A branch of this name is in the way, and the packed one counts.
            &[("HEAD", branch), ("refs/heads/main/x", &line), ("packed-refs", &packed)],
        ] {
            assert_eq!(head(files), Ok(Some(ID.to_owned())), "{files:?}");
        }
        assert_eq!(head(&[("HEAD", &"a".repeat(64))]), Ok(Some("a".repeat(64))));
        assert_eq!(head(&[("HEAD", branch)]), Ok(None));
    }

    #[test]
    fn a_head_that_leads_elsewhere_gives_nothing() {
        for text in
            ["ref: refs/../../../etc/hostname", "ref: /etc/hostname", "ref: HEAD", "", "deadbeef", "ref: refs//x"]
        {
            assert!(head(&[("HEAD", text)]).is_err(), "{text}");
        }
        assert!(head(&[("HEAD", "ref: refs/a"), ("refs/a", "ref: refs/a")]).is_err());
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(".git")).expect("a folder");
        fs::write(folder.path().join(".git/HEAD"), ID).expect("a file");
        // No repository: git goes on to look above it.
        let above = locate(&folder.path().canonicalize().expect("it is there"));
        assert!(above.is_none_or(|above| !above.root.starts_with(folder.path())));
    }

    #[test]
    fn git_tells_the_same() {
        let folder = made(&[("HEAD", "ref: refs/heads/main\n")]);
        assert_eq!(ask(folder.path()).map_err(|error| error.to_string()), Ok(None));
        fs::write(folder.path().join(".git/refs/heads/main"), format!("{ID}\n")).expect("a file");
        assert_eq!(ask(folder.path()).map_err(|error| error.to_string()), Ok(Some(ID.to_owned())));
    }

    proptest! {
        #[test]
        fn no_file_of_git_s_is_too_odd(head in any::<String>(), name in any::<String>(), list in any::<String>()) {
            let folder = made(&[("HEAD", &head), ("refs/heads/main", &name), ("packed-refs", &list)]);
            fs::write(folder.path().join(".git/commondir"), if name.len() % 2 == 0 { "." } else { &list }).expect("a file");
            if let Some(Located { head: Ok(Some(id)), .. }) = locate(&folder.path().canonicalize().expect("it is there")) {
                prop_assert!(is_id(&id));
            }
        }
    }
}
