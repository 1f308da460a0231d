//! Removes a shadow without following a link or crossing a mount.
//!
//! A daemon that was killed leaves its containers' mounts behind, and below such a mount lie the originals of layers.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

const MOUNTS: &str = "/proc/self/mountinfo";

/// Removes a directory with everything in it. When anything is mounted below it nothing is removed; the error names
/// the mount.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    let mounts = fs::read(MOUNTS).with_context(|| format!("could not read {MOUNTS}"))?;
    if let Some(mount) = mount_below(path, &mounts) {
        bail!(
            "{} was left behind, because {} is still mounted; unmount it and remove the directory",
            path.display(),
            mount.display()
        );
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn mount_below(path: &Path, mounts: &[u8]) -> Option<PathBuf> {
    mount_points(mounts).find(|mount| mount.starts_with(path))
}

/// The fifth field of each line, in which the kernel writes white space and backslashes as `\ooo`.
fn mount_points(mounts: &[u8]) -> impl Iterator<Item = PathBuf> {
    mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let field = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescaped(field))))
    })
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let digits = behind
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) => {
                let code = digits.iter().fold(0u32, |code, digit| code * 8 + u32::from(digit - b'0'));
                bytes.push((code & 0xFF) as u8);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &[u8] = br"22 1 254:0 / / rw - ext4 /dev/vda rw
36 22 0:50 / /scratch/.shadow/runc-overlayfs/executor/x/rootfs rw,noatime master:1 - overlay overlay rw
37 22 98:0 /a /mnt\0402/a\134b rw - ext3 /dev/root rw
";

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let found: Vec<_> = mount_points(TABLE).collect();
        assert_eq!((found.len(), &found[0], &found[2]), (3, &PathBuf::from("/"), &PathBuf::from(r"/mnt 2/a\b")));
    }

    #[test]
    fn a_mount_below_a_shadow_is_found_and_one_beside_it_is_not() {
        let rootfs = PathBuf::from("/scratch/.shadow/runc-overlayfs/executor/x/rootfs");
        assert_eq!(mount_below(Path::new("/scratch/.shadow"), TABLE), Some(rootfs));
        assert_eq!(mount_below(Path::new("/scratch/.sha"), TABLE), None);
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

    proptest! {
        #[test]
        fn mount_tables_of_any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(mount_points(&bytes).count() <= bytes.len() + 1);
        }
    }
}
