//! Which snapshotter a daemon takes that is told none: `auto`, as buildkitd decides it (`cmd/buildkitd/main_oci_worker.go`).
//!
//! overlayfs where it can be mounted on the root's file system, else fuse-overlayfs, else native. Trying it would write to
//! the root, so the kind of the file system answers.

use std::path::Path;

use rustix::fs::statfs;

use super::root::worker_directories;
use super::unreadable::Unreadable;

/// File systems that overlayfs cannot write its upper directory to, by the magic numbers of statfs(2): overlayfs, NFS, SMB2,
/// CIFS, eCryptfs.
const NO_UPPER: [u32; 5] = [0x794c_7630, 0x6969, 0xfe53_4d42, 0xff53_4d42, 0xf15f];

/// The snapshotter of a daemon on this root that is told none.
///
/// # Errors
/// When the root cannot be read.
pub(crate) fn auto_snapshotter(root: &Path) -> Result<String, Unreadable> {
    let known = worker_directories(root)?;
    let is_known = |name: &str| known.iter().any(|(known, _)| known == name);
    let file_system = statfs(root).map_err(|error| Unreadable::io(root, error.into()))?.f_type;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers have 32 bits")]
    let takes_overlays = !NO_UPPER.contains(&(file_system as u32));
    let name = match () {
        () if takes_overlays || is_known("overlayfs") => "overlayfs",
        () if is_known("fuse-overlayfs") => "fuse-overlayfs",
        () => "native",
    };
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_overlayfs_was_used_on_is_used_with_it_again() {
        let root = crate::inspect::fixture::root();
        assert_eq!(auto_snapshotter(root.path()).unwrap(), "overlayfs");
        assert!(auto_snapshotter(&root.path().join("absent")).is_err());
    }
}
