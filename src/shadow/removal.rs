//! Removes a shadow without following a link or crossing a mount.
//!
//! A daemon that was killed leaves its containers' mounts behind, and below such a mount lie the originals of layers.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::mounts;

/// Removes a directory with everything in it. When anything is mounted on it or below it nothing is removed; the error
/// names the mount.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    refuse_mounts(path, |_| true)?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// An error that names a mount when there is one below a directory that is itself one.
pub(super) fn nothing_mounted_below(path: &Path) -> anyhow::Result<()> {
    refuse_mounts(path, |mount| mount != path)
}

fn refuse_mounts(path: &Path, is_meant: impl Fn(&Path) -> bool) -> anyhow::Result<()> {
    match mounts::at_or_below(path)?.into_iter().find(|mount| is_meant(mount)) {
        Some(mount) => bail!(
            "{} was left behind, because {} is still mounted; unmount it and remove the directory",
            path.display(),
            mount.display()
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_removed_and_what_they_lead_to_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, shadow) = (folder.path().join("kept"), folder.path().join("shadow"));
        fs::create_dir_all(&kept).unwrap();
        fs::create_dir_all(&shadow).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, shadow.join("link")).unwrap();
        remove(&shadow).unwrap();
        assert!(!shadow.exists() && kept.join("file").exists());
        remove(&shadow).unwrap();
    }
}
