//! Reads files that somebody else may have written: a Dockerfile of a checkout, what a bake printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use rustix::fs::OFlags;

/// Opens a file for reading, and only a regular one: opening a pipe waits for whoever writes to it. Links are followed.
///
/// # Errors
/// When it is not regular, or cannot be opened.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open(path, OFlags::empty())
}

fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | more;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Reads everything, up to `limit` bytes.
///
/// # Errors
/// When there is more, and when reading fails.
pub(crate) fn read(from: impl Read, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= limit, "it is larger than {limit} bytes");
    Ok(bytes)
}

/// Reads a regular file of a directory, up to `limit` bytes. A link may lead to another file of the directory.
///
/// No more is read than the size that the file tells: files of `/proc` tell none, and reading some of them waits for ever.
///
/// # Errors
/// When it is not there, not regular, larger, or outside of the directory.
pub(crate) fn read_inside(directory: &Path, path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let real = path.canonicalize().with_context(|| format!("could not find {shown}"))?;
    let is_inside = real.starts_with(directory.canonicalize()?);
    ensure!(is_inside, "{shown} leads out of {}", directory.display());
    let file = open(&real, OFlags::NOFOLLOW).with_context(|| format!("could not open {shown}"))?;
    read_whole(file, path, limit)
}

/// Reads a regular file, up to `limit` bytes, and no more than the size that it tells. Links are followed.
///
/// # Errors
/// When it is not there, not regular, or larger.
pub(crate) fn read_regular(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let file = open_regular(path).with_context(|| format!("could not open {}", path.display()))?;
    read_whole(file, path, limit)
}

fn read_whole(file: File, path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let size = file.metadata()?.len();
    ensure!(size <= limit, "{shown} is larger than {limit} bytes");
    read(file.take(size), limit).with_context(|| format!("could not read {shown}"))
}

/// A text without a byte order mark, and in UTF-8 where the mark says that it is in UTF-16: what PowerShell's `>` writes.
///
/// # Errors
/// When it says UTF-16, and is none.
pub(crate) fn without_mark(text: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let (rest, is_big) = match text.as_slice() {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Ok(rest.to_vec()),
        [0xff, 0xfe, rest @ ..] => (rest, false),
        [0xfe, 0xff, rest @ ..] => (rest, true),
        _ => return Ok(text),
    };
    let unit = |bytes: &[u8; 2]| if is_big { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) };
    let (units, odd) = rest.as_chunks::<2>();
    ensure!(odd.is_empty(), "it begins as UTF-16, and ends in the middle of a character");
    let units: Vec<u16> = units.iter().map(unit).collect();
    Ok(String::from_utf16(&units).context("it begins as UTF-16, and is none")?.into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_of_the_directory_are_read_and_none_that_is_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, path) = (folder.path().join("inner"), |name: &str| folder.path().join("inner").join(name));
        fs::create_dir(&inner).unwrap();
        fs::write(path("a"), "12345").unwrap();
        fs::write(folder.path().join("outer"), "x").unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        for (link, to) in [("there", "a"), ("out", "../outer"), ("log", "/proc/kmsg"), ("gone", "none")] {
            symlink(to, path(link)).unwrap();
        }
        assert_eq!(read_inside(&inner, &path("a"), 5).unwrap(), b"12345");
        assert_eq!(read_inside(&inner, &path("there"), 5).unwrap(), b"12345");
        for (name, limit) in [("a", 4), ("pipe", 5), ("out", 5), ("log", 5), ("gone", 5), (".", 5)] {
            assert!(read_inside(&inner, &path(name), limit).is_err(), "{name}");
        }
        // A file that tells no size is not waited for.
        assert_eq!(read_inside(Path::new("/proc"), Path::new("/proc/kmsg"), 5).unwrap(), b"");
        assert_eq!(read_regular(Path::new("/proc/kmsg"), 5).unwrap(), b"");
        assert_eq!(read_regular(&path("out"), 5).unwrap(), b"x");
        for (name, limit) in [("a", 4), ("pipe", 5), ("gone", 5), (".", 5)] {
            assert!(read_regular(&path(name), limit).is_err(), "{name}");
        }
        assert!(read(&b"123456"[..], 5).is_err());
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_in_every_encoding(text in "[^\u{feff}]{0,30}") {
            let encoded = |mark: &[u8], unit: fn(u16) -> [u8; 2]| {
                mark.iter().copied().chain(text.encode_utf16().flat_map(unit)).collect::<Vec<u8>>()
            };
            let marked = [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat();
            let encodings = [
                text.clone().into_bytes(),
                marked,
                encoded(b"\xff\xfe", u16::to_le_bytes),
                encoded(b"\xfe\xff", u16::to_be_bytes),
            ];
            for bytes in encodings {
                prop_assert_eq!(without_mark(bytes).unwrap(), text.as_bytes());
            }
        }

        #[test]
        fn any_bytes_are_a_text_or_refused(bytes: Vec<u8>) {
            let _ = without_mark([b"\xff\xfe".as_slice(), &bytes].concat());
            let _ = without_mark(bytes);
        }
    }
}
