//! Removes a shadow without following a link or crossing a mount.
//!
//! A daemon that was killed leaves its containers' mounts behind, and below such a mount lie the originals of layers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::mounts;

/// Removes a directory with everything in it. When anything is mounted on it or below it nothing is removed; the error
/// names the mount.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    refuse(path, mount_below(path, mounts::points()?))?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// An error that names a mount when there is one below a directory that is itself one.
pub(super) fn nothing_mounted_below(path: &Path) -> anyhow::Result<()> {
    let mut mounts = mounts::points()?;
    mounts.retain(|mount| mount != path);
    refuse(path, mount_below(path, mounts))
}

fn refuse(path: &Path, mount: Option<PathBuf>) -> anyhow::Result<()> {
    match mount {
        Some(mount) => bail!(
            "{} was left behind, because {} is still mounted; unmount it and remove the directory",
            path.display(),
            mount.display()
        ),
        None => Ok(()),
    }
}

fn mount_below(path: &Path, mounts: Vec<PathBuf>) -> Option<PathBuf> {
    mounts.into_iter().find(|mount| mount.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_below_a_shadow_is_found_and_one_beside_it_is_not() {
        let rootfs = PathBuf::from("/scratch/.shadow/runc-overlayfs/executor/x/rootfs");
        let mounts = || vec!["/".into(), rootfs.clone()];
        assert_eq!(mount_below(Path::new("/scratch/.shadow"), mounts()), Some(rootfs.clone()));
        assert_eq!(mount_below(Path::new("/scratch/.sha"), mounts()), None);
    }

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
