//! Values that may be secrets are not written down: a hash of them is enough to see that they changed.
//!
//! What a value is worth is guessed from the name of the variable it is in, and from its shape. A build argument is no place
//! for a secret (BuildKit writes it into images and provenance); a report or a manifest is not to be one more. The Dockerfile
//! frontend expands variables into the names of steps, so a [`Veil`] knows the values of all of a build.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::digest;
use crate::sensitive::{SHAPES, is_common, is_secret};

/// Digits of a hash that are kept: enough to tell two values apart.
const HASH_DIGITS: usize = 16;
/// A shorter value stands in too many other words.
const SHORTEST_VALUE: usize = 4;

/// Those shapes, and whatever follows `Bearer`.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let shapes = SHAPES.iter().map(|(_, shape)| *shape);
    let header = r"(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}";
    Regex::new(&shapes.chain([header]).collect::<Vec<_>>().join("|")).ok()
});
/// What is between the scheme and the host of a URL; with a password in it, up to the last `@`.
static USERINFO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(://)([^\s'"/@:]*:[^\s'"]*|[^\s'"/@]+)@"#).ok());
/// Values of a URL's query that grant something.
static QUERY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|sig|signature|token|access_token|key|password";
    Regex::new(&format!(r#"(?i)([?&](?:{names})=)([^&\s'"]+)"#)).ok()
});

/// The secrets of a build, and what stands for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Veil {
    /// The longest first, so that none is left of one that holds another.
    values: Vec<String>,
}

impl Veil {
    /// Of variables: those whose names say that their values are secrets.
    pub(crate) fn of<'v>(variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Veil {
        let secret = variables.into_iter().filter(|(name, value)| is_secret(name) && is_worth_hiding(value));
        let values: BTreeSet<&str> = secret.map(|(_, value)| value).collect();
        let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Veil { values }
    }

    /// Of values that are secrets, whatever they are called.
    pub(crate) fn hiding<'v>(values: impl IntoIterator<Item = &'v str>) -> Veil {
        Veil::of(values.into_iter().map(|value| ("secret", value)))
    }

    /// Hides all that any of these hides.
    pub(crate) fn all<'v>(veils: impl IntoIterator<Item = &'v Veil>) -> Veil {
        Veil::hiding(veils.into_iter().flat_map(|veil| veil.values.iter().map(String::as_str)))
    }

    /// The value of a variable as it may be written down.
    pub(crate) fn variable(&self, name: &str, value: &str) -> String {
        if !value.is_empty() && is_secret(name) { hash(value) } else { self.text(value) }
    }

    /// Text with hashes in place of the build's secrets, of everything that has a token's shape, of what stands before the
    /// host of a URL and of what grants something in its query.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        replace(&mut text, &TOKEN, |found| hash(&found[0]));
        replace(&mut text, &USERINFO, |found| format!("{}{}@", &found[1], hash(&found[2])));
        replace(&mut text, &QUERY, |found| format!("{}{}", &found[1], hash(&found[2])));
        for value in &self.values {
            if text.contains(value) {
                text = Cow::Owned(text.replace(value, &hash(value)));
            }
        }
        text.into_owned()
    }
}

fn replace(text: &mut Cow<'_, str>, pattern: &Option<Regex>, with: impl Fn(&Captures<'_>) -> String) {
    let Some(pattern) = pattern.as_ref().filter(|pattern| pattern.is_match(text)) else { return };
    *text = Cow::Owned(pattern.replace_all(text, with).into_owned());
}

fn is_worth_hiding(value: &str) -> bool {
    value.len() >= SHORTEST_VALUE && !is_common(value)
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
        let veil = Veil::default();
        for name in ["CFLAGS", "LD_LIBRARY_PATH", "NODE_PATH", "MONKEY", "COMPASS"] {
            assert_eq!(veil.variable(name, "value"), "value", "{name}");
        }
        for name in ["NPM_TOKEN", "DB_PASS", "MYSQL_PWD", "SIGNING_KEY", "GITHUB_PAT", "githubtoken"] {
            let hidden = veil.variable(name, "hush");
            assert!(hidden.starts_with("(sha256:") && !hidden.contains("hush"), "{name}: {hidden}");
        }
        assert_eq!(veil.variable("NPM_TOKEN", ""), "");
        assert_ne!(veil.variable("NPM_TOKEN", "one"), veil.variable("NPM_TOKEN", "other"));
    }

    #[test]
    fn text_is_kept_but_for_what_grants_something() {
        let veil = Veil::of([("NPM_TOKEN", "hunter2hunter"), ("MODE", "fast"), ("PIN_KEY", "abc")]);
        for text in [
            "npm config set t \"hunter2hunter\"",
            "https://me:hunter2@pypi.example/simple",
            "redis://:hunter2/x@host/0",
            "https://u:p@hunter2@host/",
            "git clone https://hunter2@github.com/a/b",
            "curl -H 'Authorization: Bearer hunter2hunter2hunter2' x",
            "https://bucket/x?X-Amz-Signature=hunter2&a=b",
        ] {
            assert!(!veil.text(text).contains("hunter2"), "{}", veil.text(text));
        }
        for text in ["make fast abc", "https://proxy.example/x/@v/list", "a@b", "https://host/x?a=b"] {
            assert_eq!(veil.text(text), text);
        }
        let kept = veil.text("git clone https://ghp_0123456789abcdef0123@github.com/a/b && make");
        assert!(kept.starts_with("git clone https://(") && kept.ends_with("@github.com/a/b && make"), "{kept}");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(before in any::<String>(), password in "[!-~]{8,20}", after in any::<String>()) {
            let veil = Veil::of([("PASSWORD", password.as_str())]);
            let is_there = veil.text(&format!("{before} {password} {after}")).contains(&password);
            prop_assert!(!is_there || before.contains(&password) || after.contains(&password) || "(sha256:".contains(&password));
        }
    }
}
