//! What the kernel has mounted: where, and what of it is still to be written to disk.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

const TABLE: &str = "/proc/self/mountinfo";

/// Writes to disk what is still in memory of the file system that a directory is on.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

/// The mount points that this process sees at a path and below it.
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn at_or_below(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let table = fs::read(TABLE).with_context(|| format!("could not read {TABLE}"))?;
    Ok(those_of(path, &table))
}

fn those_of(path: &Path, table: &[u8]) -> Vec<PathBuf> {
    mount_points(table).filter(|mount| mount.starts_with(path)).collect()
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

    const MOUNTED: &[u8] = br"22 1 254:0 / / rw - ext4 /dev/vda rw
36 22 0:50 / /scratch/.shadow/runc-overlayfs/executor/x/rootfs rw,noatime master:1 - overlay overlay rw
37 22 98:0 /a /mnt\0402/a\134b rw - ext3 /dev/root rw
";

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let found: Vec<_> = mount_points(MOUNTED).collect();
        assert_eq!((found.len(), &found[0], &found[2]), (3, &PathBuf::from("/"), &PathBuf::from(r"/mnt 2/a\b")));
        assert!(at_or_below(Path::new("/")).unwrap().contains(&PathBuf::from("/proc")));
    }

    #[test]
    fn a_mount_below_a_shadow_is_found_and_one_beside_it_is_not() {
        let rootfs = PathBuf::from("/scratch/.shadow/runc-overlayfs/executor/x/rootfs");
        assert_eq!(those_of(Path::new("/scratch/.shadow"), MOUNTED), [rootfs]);
        assert_eq!(those_of(Path::new("/scratch/.sha"), MOUNTED), [""; 0].map(PathBuf::from));
    }

    proptest! {
        #[test]
        fn mount_tables_of_any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(mount_points(&bytes).count() <= bytes.len() + 1);
        }
    }
}
