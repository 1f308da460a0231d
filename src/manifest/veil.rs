//! Values that may be secrets are not written down: a hash of them is enough to see that they changed.
//!
//! What a value is worth is guessed from the name it goes by and from its shape. A build argument is no place for a
//! secret (BuildKit writes it into images and provenance); the manifest is not to be one more.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use crate::digest;

/// Parts of names whose values are secrets.
const SECRET_NAMES: [&str; 11] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "credential",
    "apikey",
    "api_key",
    "access_key",
    "private_key",
    "auth",
    "_pat",
];
/// Digits of a hash that are kept: enough to tell two values apart.
const HASH_DIGITS: usize = 16;

/// Tokens by their shape: those of GitHub, GitLab, AWS, Slack, npm, PyPI, OpenAI and its like, JSON Web Tokens, private
/// keys, and whatever follows `Bearer`.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}",
        r"|xox[a-z]-[A-Za-z0-9-]{10,}|npm_[A-Za-z0-9]{16,}|pypi-[A-Za-z0-9_-]{16,}|\bsk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}",
        r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
        r"|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}",
    ))
    .ok()
});
/// The part of a URL that is between the scheme and the host.
static USERINFO: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(://)([^/\s@'\x22]+)@").ok());

/// A value as it may be written down; `name` is what it is the value of.
pub(crate) fn veiled(name: &str, value: &str) -> String {
    let name = name.to_lowercase();
    if !value.is_empty() && SECRET_NAMES.iter().any(|part| name.contains(part)) {
        return hash(value);
    }
    without_tokens(value).into_owned()
}

/// Text with a hash in place of everything that has a token's shape, and of what stands before the host of a URL.
pub(crate) fn without_tokens(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if let Some(token) = TOKEN.as_ref().filter(|token| token.is_match(&text)) {
        text = Cow::Owned(token.replace_all(&text, |found: &regex::Captures<'_>| hash(&found[0])).into_owned());
    }
    if let Some(userinfo) = USERINFO.as_ref().filter(|userinfo| userinfo.is_match(&text)) {
        let replaced =
            userinfo.replace_all(&text, |found: &regex::Captures<'_>| format!("{}{}@", &found[1], hash(&found[2])));
        text = Cow::Owned(replaced.into_owned());
    }
    text
}

fn hash(value: &str) -> String {
    let digest = digest::sha256(value);
    let digits = digest.find(':').map_or(0, |colon| colon + 1) + HASH_DIGITS;
    format!("({})", &digest[..digits])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_hashed_and_the_rest_is_kept() {
        assert_eq!(veiled("env CFLAGS", "-O2"), "-O2");
        assert_eq!(veiled("env NPM_TOKEN", ""), "");
        let hidden = veiled("env NPM_TOKEN", "hush");
        assert!(hidden.starts_with("(sha256:") && !hidden.contains("hush"), "{hidden}");
        assert_ne!(hidden, veiled("env NPM_TOKEN", "other"));
        for (name, value) in [
            ("env DB_PASSWORD", "hunter2"),
            ("env PIP_INDEX_URL", "https://me:hunter2@pypi.example/simple"),
            ("command", "git clone https://hunter2@github.com/a/b"),
            ("command", "curl -H 'Authorization: Bearer hunter2hunter2hunter2' x"),
        ] {
            let veiled = veiled(name, value);
            assert!(!veiled.contains("hunter2"), "{veiled}");
        }
        let kept = veiled("command", "git clone https://ghp_0123456789abcdef0123@github.com/a/b && make");
        assert!(kept.starts_with("git clone https://(") && kept.ends_with("@github.com/a/b && make"), "{kept}");
        assert!(!kept.contains("0123456789abcdef0123"), "{kept}");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(before in any::<String>(), password in "[a-z0-9]{8,20}", after in any::<String>()) {
            let text = format!("{before} https://me:{password}@host/ {after}");
            let is_there = without_tokens(&text).contains(&format!(":{password}@"));
            prop_assert!(!is_there, "{text}");
        }
    }
}
