//! Files of private ssh keys, as far as they tell of themselves without their key: whether it has a passphrase.

use std::path::Path;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::foreign;

/// Bytes of the largest key that BuildKit's client reads.
const LIMIT: u64 = 100 * 1024;
/// What OpenSSH's own format begins with (PROTOCOL.key of OpenSSH); the cipher's name follows.
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// The cipher of a key without a passphrase.
const PLAIN: &[u8] = b"none";
/// Characters that hold the magic and the longest cipher's name.
const HEAD: usize = 80;
/// The head of a key is cut anywhere.
const CUT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether the key in a file has a passphrase; nothing of a file that is no private key.
///
/// # Errors
/// When it cannot be read, or is larger than any key.
pub(crate) fn has_passphrase(file: &Path) -> anyhow::Result<Option<bool>> {
    Ok(of_text(&String::from_utf8_lossy(&foreign::read(std::fs::File::open(file)?, LIMIT)?)))
}

fn of_text(text: &str) -> Option<bool> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN "));
    let kind = lines.next()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    let mut body = lines.take_while(|line| !line.starts_with("-----"));
    match kind {
        "OPENSSH PRIVATE KEY" => {
            let head: String = body.collect::<String>().chars().take(HEAD).collect();
            let head = CUT.decode(head).ok()?;
            let (length, rest) = head.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
            Some(rest.get(..u32::from_be_bytes(*length) as usize)? != PLAIN)
        }
        "ENCRYPTED PRIVATE KEY" => Some(true),
        // RFC 1421 has it in a header.
        _ if kind.ends_with("PRIVATE KEY") => {
            Some(body.any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_every_kind_tell_whether_they_have_a_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        for format in ["RFC4716", "PEM", "PKCS8"] {
            for kind in ["rsa", "ecdsa", "ed25519"] {
                for passphrase in ["", "sesame"] {
                    let file = folder.path().join(format!("{format}-{kind}-{passphrase}"));
                    let mut made = Command::new("ssh-keygen");
                    made.args(["-q", "-t", kind, "-m", format, "-N", passphrase, "-f"]).arg(&file);
                    assert!(made.status().unwrap().success());
                    assert_eq!(has_passphrase(&file).unwrap(), Some(!passphrase.is_empty()), "{}", file.display());
                    assert_eq!(has_passphrase(&file.with_extension("pub")).unwrap(), None);
                }
            }
        }
        assert!(has_passphrase(folder.path()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(kind in "(OPENSSH |ENCRYPTED |RSA |)PRIVATE KEY", body in "[A-Za-z0-9+/=\n: ,-]{0,200}") {
            let _ = of_text(&format!("-----BEGIN {kind}-----\n{body}"));
            let _ = of_text(&body);
        }
    }
}
