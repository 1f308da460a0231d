//! Where programs are looked for: nobody else than the caller decides what runs as the caller.
//!
//! **Invariant:** relative directories of `PATH` never count, and for root those do not count that another user can write.
//! That holds for what our children start as well: git's credential helpers, buildkitd's runc.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The permission bits of a directory that everybody can write, and of one in which nobody can rename what others own.
const WRITE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Starts this process anew with what may count of its `PATH`, after `warn` was told what does not; returns at once where
/// all of it may.
///
/// # Errors
/// When it cannot be started anew.
#[expect(
    clippy::disallowed_methods,
    reason = "it comes before all settings, and is about how this process was started"
)]
pub(crate) fn with_safe_path(arguments: &[OsString], warn: impl Fn(&str)) -> anyhow::Result<()> {
    let Some(path) = env::var_os("PATH") else { return Ok(()) };
    let caller = rustix::process::geteuid().as_raw();
    let behind = env::var("SUDO_UID").ok().and_then(|id| id.parse().ok());
    let (kept, passed_over) = sort(&path, caller, behind);
    if passed_over.is_empty() {
        return Ok(());
    }
    for directory in &passed_over {
        let why = if directory.is_absolute() { "another user can write it" } else { "it is relative" };
        warn(&format!("no program is taken from `{}` of PATH: {why}", directory.display()));
    }
    let [name, arguments @ ..] = arguments else { return Ok(()) };
    let mut again = Command::new(env::current_exe()?);
    Err(again.arg0(name).args(arguments).env("PATH", env::join_paths(kept)?).exec().into())
}

/// The directories that count for a caller, and those that do not. `behind` is the user who became root by sudo.
fn sort(path: &OsStr, caller: u32, behind: Option<u32>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    env::split_paths(path).partition(|directory| {
        // Also the empty one, which means the current directory.
        directory.is_absolute() && (caller != 0 || !others_can_write(directory, &[Some(0), behind]))
    })
}

/// Whether somebody else can put a program there. A group's right to write is its administrator's word. What is not there,
/// or cannot be looked at, has no program either.
fn others_can_write(directory: &Path, owners: &[Option<u32>]) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    directory.ancestors().any(|part| {
        let Ok(found) = fs::metadata(part) else { return true };
        let renamed = found.mode() & WRITE_BY_ALL != 0 && (part == directory || found.mode() & STICKY == 0);
        renamed || !owners.contains(&Some(found.uid()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    #[test]
    fn root_takes_programs_from_directories_that_are_roots() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str, owner: u32, mode: u32| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.join("bin")).unwrap();
            chown(&path, Some(owner), None).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (ours, theirs) = (made("ours", 0, 0o755), made("theirs", 65534, 0o755));
        let (open, sticky, staff) = (made("open", 0, 0o777), made("sticky", 0, 0o1777), made("staff", 0, 0o2775));
        std::os::unix::fs::symlink(&open, folder.path().join("link")).unwrap();
        let bin = |path: &Path| path.join("bin");
        for (directory, counts) in [
            (ours.clone(), true),
            (bin(&ours), true),
            (staff, true),
            // Everybody can put another `bin` into the first of these.
            (bin(&open), false),
            (bin(&sticky), true),
            (bin(&theirs), false),
            (theirs.clone(), false),
            (open, false),
            (sticky, false),
            (folder.path().join("link"), false),
            (folder.path().join("absent"), true),
            ("bin".into(), false),
            (PathBuf::new(), false),
        ] {
            let path = env::join_paths([&directory]).unwrap();
            assert_eq!(sort(&path, 0, None).0.len(), usize::from(counts), "{}", directory.display());
        }
        assert_eq!(sort(theirs.as_os_str(), 0, Some(65534)).0.len(), 1);
        assert_eq!(sort(theirs.as_os_str(), 1000, None).0.len(), 1);
        assert_eq!(sort("bin".as_ref(), 1000, None).0.len(), 0);
    }
}
