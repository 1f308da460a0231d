//! Bytes that nobody can guess.

use anyhow::{Context, ensure};
use rustix::rand::{GetRandomFlags, getrandom};

/// So many bytes of the kernel's.
///
/// # Errors
/// When the kernel has none.
pub(crate) fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty()).context("asking the kernel for random bytes")?;
    ensure!(filled == N, "the kernel has no random bytes");
    Ok(bytes)
}
