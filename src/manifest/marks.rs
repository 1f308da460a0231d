//! What a manifest has in place of secrets: keyed hashes, by which somebody with the key can say whether a value changed, and
//! by which nobody can try values without it.
//!
//! A mark is `(hmac:KEY:DIGITS)`: the first digits of HMAC-SHA256 of the key's name, which tell keys apart, and of the value.
//! cachewarm up to 0.1.0 of November 2026 wrote `(sha256:DIGITS)` without a key. `(secret)` stands where there is no key.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context as _, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use regex::Regex;
use sha2::Sha256;

use crate::digest;
use crate::document::folder;
use crate::failure::{Explain, Kind};
use crate::random;

/// What the file of a key begins with, so that no other file passes for one.
const PREFIX: &str = "cachewarm-manifest-key-1:";
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Hexadecimal digits of a key's name.
const NAME_DIGITS: usize = 8;
/// Hexadecimal digits of a keyed hash: 128 bits.
const HASH_DIGITS: usize = 32;
/// Hexadecimal digits of a hash without a key.
const UNSALTED_DIGITS: usize = 16;
/// What stands for a secret where there is no key.
const MASK: &str = "(secret)";

/// Every kind of mark.
static MARK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\((?:hmac:[0-9a-f]{8}:[0-9a-f]{32}|sha256:[0-9a-f]{16}|secret)\)").ok());

/// A key of hashes. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key([u8; KEY_BYTES]);

/// What stands for secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Marks {
    /// Hashes with a key.
    Keyed(Key),
    /// Hashes without one, as older manifests have them, to compare with those.
    Unsalted,
    /// The same for every secret.
    Masked,
}

/// Whether two texts with marks in them are of the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// They are.
    Same,
    /// They are not.
    Changed,
    /// They differ in secrets at most, and nobody can say whether they do.
    Unknown,
}

/// The file of the key with which the manifest's hashes are made: `manifest.json.cachewarm-key` beside `manifest.json`. The
/// name says whose it is: `manifest.key` may be somebody's own key.
pub(crate) fn key_file(manifest: &Path) -> PathBuf {
    let mut name = manifest.as_os_str().to_owned();
    name.push(".cachewarm-key");
    name.into()
}

/// Whether this is the content of a file that [`Key::keep_beside`] wrote. Nothing else is ours to remove.
pub(crate) fn is_key(content: &[u8]) -> bool {
    std::str::from_utf8(content).is_ok_and(|text| Key::parse(text).is_ok())
}

impl Key {
    /// Reads the key beside a manifest; none when there is none.
    ///
    /// # Errors
    /// Explained: when it cannot be read, or is no key of ours.
    pub(crate) fn beside(manifest: &Path) -> anyhow::Result<Option<Key>> {
        let path = key_file(manifest);
        Key::read(&path).explain(
            Kind::Environment,
            format!("could not use the key {} of the manifest's hashes", path.display()),
            "run as the user who warmed, or move the file away: hashes of before then cannot be compared with new ones",
        )
    }

    fn read(path: &Path) -> anyhow::Result<Option<Key>> {
        let mut text = String::new();
        match fs::File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?.take(1024).read_to_string(&mut text)?,
        };
        Key::parse(&text).map(Some)
    }

    fn parse(text: &str) -> anyhow::Result<Key> {
        let digits = text.trim_end().strip_prefix(PREFIX).context("it is no key that cachewarm made")?;
        ensure!(digits.len() == 2 * KEY_BYTES && digits.is_ascii(), "it is not {} hexadecimal digits", 2 * KEY_BYTES);
        let mut bytes = [0; KEY_BYTES];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).context("it is no hexadecimal number")?;
        }
        Ok(Key(bytes))
    }

    /// Makes a key.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub(crate) fn random() -> anyhow::Result<Key> {
        Ok(Key(random::bytes()?))
    }

    /// Writes the key beside a manifest, for its owner alone, unless there is one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep_beside(&self, manifest: &Path) -> anyhow::Result<()> {
        let path = key_file(manifest);
        let owner = fs::Permissions::from_mode(0o600);
        let mut file = tempfile::Builder::new().permissions(owner).tempfile_in(folder(&path))?;
        writeln!(file, "{PREFIX}{}", hexadecimal(&self.0))?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome.map(drop).with_context(|| format!("writing {}", path.display())),
        }
    }

    fn hash(&self, value: &str) -> String {
        let digits = |value: &[u8]| {
            // HMAC takes keys of every length.
            let mut hash = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
            hash.update(value);
            Some(hexadecimal(&hash.finalize().into_bytes()))
        };
        // No value begins with a NUL: neither variables nor commands can hold one.
        let both = digits(b"\0the name of this key").zip(digits(value.as_bytes()));
        both.map_or_else(
            || MASK.to_owned(),
            |(name, hash)| format!("(hmac:{}:{})", &name[..NAME_DIGITS], &hash[..HASH_DIGITS]),
        )
    }
}

impl Marks {
    /// The mark of a secret.
    pub(crate) fn of(&self, secret: &str) -> String {
        match self {
            Marks::Keyed(key) => key.hash(secret),
            Marks::Unsalted => {
                let digest = digest::sha256(secret);
                let digits = digest.find(':').map_or(0, |colon| colon + 1) + UNSALTED_DIGITS;
                format!("({})", &digest[..digits])
            }
            Marks::Masked => MASK.to_owned(),
        }
    }
}

/// Whether two texts are the same but for secrets, and what is known of those.
pub(crate) fn compare(old: &str, new: &str) -> Likeness {
    let is_unknown = |mark: &str| mark == MASK;
    if old == new {
        return if marks(old).iter().copied().any(is_unknown) { Likeness::Unknown } else { Likeness::Same };
    }
    let (before, now) = (marks(old), marks(new));
    if before.len() != now.len() || masked(old) != masked(new) {
        return Likeness::Changed;
    }
    // What stands before the last colon is the kind of the hash and its key.
    let kind = |mark: &str| mark.rsplit_once(':').map(|(kind, _)| kind.to_owned());
    let pairs = || before.iter().zip(&now).filter(|(one, other)| one != other);
    match pairs().any(|(one, other)| kind(one) == kind(other)) {
        true => Likeness::Changed,
        false => Likeness::Unknown,
    }
}

/// Text with the same mark for every secret: hashes are for machines that compare, and for nobody to look at.
pub(crate) fn masked(text: &str) -> String {
    MARK.as_ref().map_or_else(|| text.to_owned(), |mark| mark.replace_all(text, MASK).into_owned())
}

/// Whether there is a keyed hash in a text.
pub(crate) fn is_keyed(text: &str) -> bool {
    marks(text).iter().any(|mark| mark.starts_with("(hmac:"))
}

/// Whether there is a hash without a key in a text.
pub(crate) fn is_unsalted(text: &str) -> bool {
    marks(text).iter().any(|mark| mark.starts_with("(sha256:"))
}

fn marks(text: &str) -> Vec<&str> {
    MARK.iter().flat_map(|mark| mark.find_iter(text)).map(|mark| mark.as_str()).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_hmac_and_tell_keys_and_values_apart() {
        // RFC 4231 has HMAC-SHA256 of "Hi There" under 20 bytes of 0x0b; a key of zeros behind them is the same key.
        let mut bytes = [0; KEY_BYTES];
        bytes[..20].fill(0x0b);
        let one = Marks::Keyed(Key(bytes));
        assert!(one.of("Hi There").ends_with(":b0344c61d8db38535ca8afceaf0bf12b)"), "{}", one.of("Hi There"));
        let other = Marks::Keyed(Key([1; KEY_BYTES]));
        let (a, b) = (one.of("hunter2"), one.of("hunter3"));
        let with = |mark: &str| format!("install {mark} now");
        let compare = |old: &str, new: &str| compare(&with(old), &with(new));
        assert_eq!((compare(&a, &a), compare(&a, &b)), (Likeness::Same, Likeness::Changed));
        for unknown in [other.of("hunter2"), Marks::Unsalted.of("hunter2"), Marks::Masked.of("hunter2")] {
            assert_eq!(compare(&a, &unknown), Likeness::Unknown, "{unknown}");
            assert_eq!(compare(&unknown, &a), Likeness::Unknown, "{unknown}");
        }
        assert_eq!(compare("(secret)", "(secret)"), Likeness::Unknown);
        assert_eq!(compare(&Marks::Unsalted.of("a"), &Marks::Unsalted.of("b")), Likeness::Changed);
        assert_eq!(compare("plain", &a), Likeness::Changed);
        assert_eq!(super::compare("a", "b"), Likeness::Changed);
        assert_eq!(super::compare(&format!("x {a}"), &format!("y {}", other.of("z"))), Likeness::Changed);
        assert_eq!(masked(&with(&a)), "install (secret) now");
        assert!(is_keyed(&a) && !is_keyed("(sha256:0123456789abcdef)") && is_unsalted("(sha256:0123456789abcdef)"));
    }

    #[test]
    fn a_key_is_kept_for_its_owner_and_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = folder.path().join("manifest.json");
        assert!(Key::beside(&manifest).expect("it may be absent").is_none());
        let key = Key::random().expect("random");
        key.keep_beside(&manifest).expect("written");
        let file = folder.path().join("manifest.json.cachewarm-key");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let other = Key::random().expect("random");
        other.keep_beside(&manifest).expect("there is one");
        assert!(other != key && Key::beside(&manifest).expect("readable") == Some(key));
        let written = fs::read(&file).expect("readable");
        assert!(is_key(&written) && !is_key(&written[1..]) && !is_key("0".repeat(64).as_bytes()));
        for broken in ["", "xx", &"é".repeat(32), &"g".repeat(64)] {
            fs::write(&file, format!("{PREFIX}{broken}")).expect("written");
            assert!(Key::beside(&manifest).is_err(), "{broken}");
        }
    }
}
