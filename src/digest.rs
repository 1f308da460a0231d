//! How a digest is written: the algorithm, a colon, and lower-case hexadecimal, as OCI's descriptors have it.

use std::fmt::Write;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(written("sha512", &[0, 10, 255]), "sha512:000aff");
        assert_eq!(sha256("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
