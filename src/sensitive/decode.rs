//! The encodings in which a secret's file holds values: base64, percent-encoding, entities of XML, escapes of JSON.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Lengths of lines, in characters, that programs write base64 in: `base64` of coreutils, and `openssl` like PEM.
const LINES: [usize; 2] = [76, 64];
/// Bytes of the longest content whose base64 is known line by line as well.
const LONGEST_IN_LINES: usize = 16 * 1024;

/// The base64 of bytes: whole, in both alphabets, and in lines.
pub(super) fn base64_encoded(bytes: &[u8]) -> Vec<String> {
    let standard = STANDARD.encode(bytes);
    let mut all = Vec::new();
    if bytes.len() <= LONGEST_IN_LINES {
        for length in LINES {
            let lines = standard.as_bytes().chunks(length).filter(|_| standard.len() > length);
            all.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
        }
    }
    all.push(URL_SAFE_NO_PAD.encode(bytes));
    all.push(standard);
    all
}

/// The text that a value is the base64 of; none where it is no base64, or that of no text.
pub(super) fn base64_text(value: &str) -> Option<String> {
    let unpadded = value.trim_end_matches('=');
    let decoded = STANDARD_NO_PAD.decode(unpadded).or_else(|_| URL_SAFE_NO_PAD.decode(unpadded)).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let is_text = |character: char| !character.is_control() || matches!(character, '\n' | '\r' | '\t');
    (!text.is_empty() && text.chars().all(is_text)).then_some(text)
}

/// Text without its percent-encoding; none where there is none in it, or where it is not that of text.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut has_changed = false;
    while let Some((first, behind)) = rest.split_first() {
        let encoded = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let encoded = encoded.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match encoded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
                has_changed = true;
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    if has_changed { String::from_utf8(bytes).ok() } else { None }
}

/// Text without the five entities of XML; none where there is none in it.
pub(super) fn xml_decoded(text: &str) -> Option<String> {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    let decoded = entities.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain));
    (decoded != text).then_some(decoded)
}

/// What stands between double quotes without its backslashes; none where there is none in it.
pub(super) fn unescaped(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    serde_json::from_str(&format!("\"{text}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        assert_eq!(base64_text("dXNlcjpwQHNz").as_deref(), Some("user:p@ss"));
        assert_eq!(base64_text("wJalrXUtnFEMI/K7MDENG/bPxRfiCYzQ9aXbLm3T"), None);
        assert_eq!(percent_decoded("pa%40ss%zz").as_deref(), Some("pa@ss%zz"));
        assert_eq!(percent_decoded("100%"), None);
        assert_eq!(xml_decoded("a&amp;lt;").as_deref(), Some("a&lt;"));
        assert_eq!(unescaped(r"a\nb").as_deref(), Some("a\nb"));
    }

    #[test]
    fn base64_is_known_whole_and_in_lines() {
        let encoded = base64_encoded(&[0xfb; 100]);
        assert!(
            encoded.iter().any(|text| text.len() == 76) && encoded.iter().any(|text| text.len() == 64),
            "{encoded:?}"
        );
        assert!(encoded.iter().any(|text| text.contains('_')) && encoded.iter().any(|text| text.len() == 136));
    }
}
