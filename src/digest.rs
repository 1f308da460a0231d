//! How a digest is written: the algorithm, a colon, and lower-case hexadecimal, as OCI's descriptors have it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// `sha256:…` of some bytes.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    written("sha256", &Sha256::digest(bytes))
}

/// A hash, with the name of its algorithm in front.
pub(crate) fn written(algorithm: &str, hash: &[u8]) -> String {
    hash.iter().fold(format!("{algorithm}:"), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether this is the digest of an algorithm that registries use.
pub(crate) fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where an OCI image layout keeps a blob; none where that is no digest.
pub(crate) fn blob_path(layout: &Path, digest: &str) -> Option<PathBuf> {
    let (algorithm, hex) = digest.split_once(':').filter(|_| is_digest(digest))?;
    Some(layout.join("blobs").join(algorithm).join(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(written("sha512", &[0, 10, 255]), "sha512:000aff");
        assert_eq!(sha256("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
