//! The shapes of tokens and keys: what is a secret wherever it stands, because of what it looks like.

use std::sync::LazyLock;

use regex::Regex;

/// The name of the shape of private keys.
pub(crate) const PRIVATE_KEY: &str = "private key";
/// What each shape is, and its regular expression.
pub(crate) const SHAPES: [(&str, &str); 10] = [
    ("GitHub token", r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}"),
    ("GitLab token", r"glpat-[A-Za-z0-9_-]{16,}"),
    ("AWS access key", r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
    // `AWS:` and a password, as docker has it; and the password, which is JSON that begins with a payload.
    ("ECR token", r"QVdTO[A-Za-z0-9+/]{16,}={0,2}|eyJwYXlsb2FkIjoi[A-Za-z0-9+/]{32,}={0,2}"),
    ("Slack token", r"xox[a-z]-[A-Za-z0-9-]{10,}"),
    ("npm token", r"npm_[A-Za-z0-9]{16,}"),
    ("PyPI token", r"pypi-[A-Za-z0-9_-]{16,}"),
    ("API key", r"\bsk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}"),
    ("JSON Web Token", r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    (PRIVATE_KEY, r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
];

/// Any of the shapes, and nothing else.
static WHOLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let shapes = SHAPES.map(|(_, shape)| shape).join("|");
    Regex::new(&format!("^(?:{shapes})$")).ok()
});

/// Whether a word as a whole has one of the shapes.
pub(super) fn has_shape(word: &str) -> bool {
    WHOLE.as_ref().is_some_and(|whole| whole.is_match(word))
}
