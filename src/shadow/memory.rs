//! A file system in memory for a shadow: a build's directories are copied into it, and those are many small files.
//!
//! It takes at most a quarter of the memory that is to be had, so that a large directory ends in an error of the file
//! system and not in the kernel's choice of a process to kill. Who made it then tries again on disk.

use std::fs;
use std::path::Path;

use anyhow::Context;
use rustix::mount::MountFlags;

/// What is taken of the available memory, as a divisor.
const SHARE: u64 = 4;
/// Bytes below which it is not worth it.
const LEAST: u64 = 64 << 20;

/// Mounts one on an empty directory.
///
/// # Errors
/// When there is too little memory, or the kernel refuses.
pub(super) fn mount(path: &Path) -> anyhow::Result<()> {
    let limit = available()? / SHARE;
    anyhow::ensure!(limit >= LEAST, "only {} MiB of memory may be used", limit >> 20);
    // A file takes about a kilobyte of the kernel's memory beside its content, which `size` does not count.
    let options = format!("size={limit},nr_inodes={},mode=0700", limit >> 10);
    let options = std::ffi::CString::new(options).context("mount options")?;
    rustix::mount::mount("cachewarm-shadow", path, "tmpfs", MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("could not mount a tmpfs on {}", path.display()))
}

/// Bytes that processes can be given without swapping: on this machine, and in this control group and those around it
/// (version 2).
fn available() -> anyhow::Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("could not read /proc/meminfo")?;
    let machine = mem_available(&meminfo).context("/proc/meminfo has no MemAvailable")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default());
    // A group without a limit says `max`; the outermost has no such file.
    let number = |group: &Path, file| {
        fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join(file)).ok()?.trim().parse::<u64>().ok()
    };
    let left = |group| Some(number(group, "memory.max")?.saturating_sub(number(group, "memory.current")?));
    Ok(group.ancestors().filter_map(left).fold(machine, u64::min))
}

/// The line `MemAvailable:  N kB`, in bytes.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_as_the_kernel_writes_it() {
        let table = "MemTotal:       24690640 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(mem_available(table), Some(2 << 20));
        assert_eq!(mem_available("MemAvailable: many kB\n"), None);
        assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
        assert_eq!(mem_available(&format!("MemAvailable: {} kB", u64::MAX)), None);
        assert!(available().unwrap() > 0);
    }
}
