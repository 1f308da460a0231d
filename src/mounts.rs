//! Where the kernel has something mounted.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::Context;

const TABLE: &str = "/proc/self/mountinfo";

/// Every mount point that this process sees.
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn points() -> anyhow::Result<Vec<PathBuf>> {
    let table = fs::read(TABLE).with_context(|| format!("could not read {TABLE}"))?;
    Ok(mount_points(&table).collect())
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

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let table = br"22 1 254:0 / / rw - ext4 /dev/vda rw
36 22 0:50 / /scratch/.shadow/runc-overlayfs/executor/x/rootfs rw,noatime master:1 - overlay overlay rw
37 22 98:0 /a /mnt\0402/a\134b rw - ext3 /dev/root rw
";
        let found: Vec<_> = mount_points(table).collect();
        assert_eq!((found.len(), &found[0], &found[2]), (3, &PathBuf::from("/"), &PathBuf::from(r"/mnt 2/a\b")));
        assert!(points().unwrap().contains(&PathBuf::from("/proc")));
    }

    proptest! {
        #[test]
        fn mount_tables_of_any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(mount_points(&bytes).count() <= bytes.len() + 1);
        }
    }
}
