//! The spellings in which programs write a value down: as it is, in base64, percent-encoded, in JSON.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::{SHORTEST, parts};

/// What Go leaves as it is in the password of a URL (`net/url`, `encodeUserPassword`).
const GO_USERINFO: &str = "$&+,;=";

/// Characters of base64 that are the same whatever stands around the secret; fewer are in too much that is no secret.
const SHORTEST_ENCODED: usize = 8;
/// Every spelling of every part of a secret's content, each with its name.
pub(crate) fn spelled(content: &[u8]) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    parts(content).parts.into_iter().flat_map(|part| spellings(&part))
}

/// Every spelling of a value, no two the same.
fn spellings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![("as it is", secret.to_vec())];
    for before in 0..3 {
        all.push(("in base64", encoded(&STANDARD_NO_PAD, secret, before)));
        all.push(("in base64", encoded(&URL_SAFE_NO_PAD, secret, before)));
    }
    for plain in ["", GO_USERINFO] {
        all.push(("percent-encoded", percent_encoded(secret, plain, |byte| format!("%{byte:02X}")).into_bytes()));
        all.push(("percent-encoded", percent_encoded(secret, plain, |byte| format!("%{byte:02x}")).into_bytes()));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::Value::from(text).to_string();
        let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(&json);
        all.extend([("in JSON", json.as_bytes().to_vec()), ("in JSON", as_go(json).into_bytes())]);
    }
    let mut seen = BTreeSet::new();
    all.retain(|(how, bytes)| {
        let is_enough = if *how == "in base64" { SHORTEST_ENCODED } else { SHORTEST };
        bytes.len() >= is_enough && seen.insert(bytes.clone())
    });
    all
}

/// JSON as Go's encoder writes it, for HTML's sake.
fn as_go(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// The characters of base64 that say nothing of what stands before and behind the secret, when `before` bytes (modulo 3) do.
fn encoded(engine: &impl Engine, secret: &[u8], before: usize) -> Vec<u8> {
    let padded = [vec![0; before], secret.to_vec()].concat();
    let text = engine.encode(&padded).into_bytes();
    // Each character is six bits; those that are partly of another byte go.
    let first = (before * 8).div_ceil(6);
    let behind = padded.len() * 8 / 6;
    text.get(first..behind.min(text.len())).unwrap_or_default().to_vec()
}

fn percent_encoded(bytes: &[u8], plain: &str, hexadecimal: fn(u8) -> String) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if plain.as_bytes().contains(&byte) => char::from(byte).to_string(),
        _ => hexadecimal(byte),
    };
    bytes.iter().map(|byte| encode(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_found(secret: &str, text: &[u8]) -> bool {
        spelled(secret.as_bytes()).any(|(_, spelling)| text.windows(spelling.len()).any(|window| window == spelling))
    }

    #[test]
    fn json_of_go_is_known() {
        assert!(is_found("<a0Aa&  A", br"\u003ca0Aa\u0026  A"));
        assert!(!is_found("hunter2hunter2", b"hunter2"));
    }

    proptest! {
        #[test]
        fn a_secret_is_known_in_every_spelling_wherever_it_stands(
            secret in "[!-~][ -~]{8,40}", before in proptest::collection::vec(any::<u8>(), 0..20),
            after in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            prop_assume!(!parts(secret.as_bytes()).parts.is_empty());
            let plain = [before.as_slice(), secret.as_bytes(), &after].concat();
            let bytes = secret.as_bytes();
            for text in [
                plain.clone(),
                STANDARD_NO_PAD.encode(&plain).into_bytes(),
                URL_SAFE_NO_PAD.encode(&plain).into_bytes(),
                percent_encoded(bytes, "", |byte| format!("%{byte:02x}")).into_bytes(),
                percent_encoded(bytes, GO_USERINFO, |byte| format!("%{byte:02X}")).into_bytes(),
                as_go(&serde_json::Value::from(secret.as_str()).to_string()).into_bytes(),
                serde_json::Value::from(secret.as_str()).to_string().into_bytes(),
            ] {
                prop_assert!(is_found(&secret, &text));
            }
        }
    }
}
