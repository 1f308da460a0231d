//! What is looked for: secrets that are known, in every spelling in which they are written down, and shapes of tokens.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use anyhow::Context;
use regex::bytes::Regex;

use crate::auth::Secret;
use crate::sensitive;

/// How far the pieces reach into each other in which a file is looked through for shapes. A private key's first line and
/// every token are shorter.
const LONGEST_SHAPE: usize = 4096;

const LOGIN: &str = "URL with a password";
const SIGNATURE: &str = "signed URL";
const DOCKER_LOGIN: &str = "docker login";
/// A login in docker's configuration, under whatever name the file has.
const DOCKER: (&str, &str) = (DOCKER_LOGIN, r#"(?-u)"auth"\s*:\s*"[A-Za-z0-9+/]{8,}={0,2}""#);
/// Addresses that grant something. What BuildKit has made unreadable (`xxxxx`) is none.
const ADDRESSES: [(&str, &str); 2] = [
    (LOGIN, r#"(?-u)://[!-~&&[^'"/@:]]*:(?:[!-~&&[^'"/@x]]|x+[!-~&&[^'"/@x]])[!-~&&[^'"/@]]*@"#),
    (
        SIGNATURE,
        r"(?-u)[?&](?i:X-Amz-Signature|X-Amz-Security-Token|sig|signature|access_token|token|password)=[0-9A-Za-z%+/=._~-]{6,}",
    ),
];

/// A secret that is known, by the name a person knows it by.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// `secret npm`, `build argument NPM_TOKEN`.
    pub(crate) name: String,
    /// What it is.
    pub(crate) value: Secret<Vec<u8>>,
}

/// Something that was found: what it is, never what it reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// A secret that is known, and how it is written there.
    Known(String, &'static str),
    /// Something that has the shape of a secret.
    Shaped(&'static str),
}

/// Everything that is looked for.
#[derive(Debug)]
pub(super) struct Needles {
    known: AhoCorasick,
    /// For each spelling of `known`, what it is.
    spellings: Vec<Found>,
    longest: usize,
    shapes: &'static [(&'static str, Regex)],
}

/// Every shape, made ready once.
static READY: LazyLock<Result<Vec<(&str, Regex)>, regex::Error>> = LazyLock::new(|| {
    let shapes = sensitive::SHAPES.iter().chain(&ADDRESSES).chain([&DOCKER]);
    shapes.map(|(name, shape)| Ok((*name, Regex::new(shape)?))).collect()
});

impl Needles {
    /// For these secrets. Those that are too short are passed over: [`is_searchable`].
    ///
    /// # Errors
    /// When there are too many of them.
    pub(super) fn of(secrets: &[Known]) -> anyhow::Result<Needles> {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        let mut spellings = Vec::new();
        for secret in secrets.iter().filter(|secret| is_searchable(secret)) {
            for (how, bytes) in sensitive::spelled(secret.value.reveal_bytes()) {
                spellings.push(Found::Known(secret.name.clone(), how));
                patterns.push(bytes);
            }
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or_default();
        let known = AhoCorasick::new(&patterns).context("too many secrets to look for")?;
        let shapes = READY.as_ref().map_err(|error| anyhow::anyhow!("a token's shape: {error}"))?;
        Ok(Needles { known, spellings, longest, shapes })
    }

    /// Whether there is anything to look for in content where these shapes count.
    pub(super) fn count(&self, shapes: Shapes) -> bool {
        !self.spellings.is_empty() || shapes != Shapes::No
    }

    /// How far two pieces of a file have to reach into each other.
    pub(super) fn overlap(&self) -> usize {
        self.longest.max(LONGEST_SHAPE)
    }

    /// Looks through a piece of a file.
    pub(super) fn look(&self, piece: &[u8], shapes: Shapes, found: &mut BTreeSet<Found>) {
        if !self.spellings.is_empty() {
            for hit in self.known.find_overlapping_iter(piece) {
                found.extend(self.spellings.get(hit.pattern().as_usize()).cloned());
            }
        }
        if shapes == Shapes::No {
            return;
        }
        for (name, shape) in self.shapes {
            let counts = match *name {
                sensitive::PRIVATE_KEY => shapes == Shapes::All,
                LOGIN | SIGNATURE => shapes == Shapes::Addresses,
                DOCKER_LOGIN => shapes != Shapes::Addresses,
                _ => true,
            };
            if !counts || found.contains(&Found::Shaped(name)) {
                continue;
            }
            // The keys in AWS's own documentation end so, and are in every test suite.
            if shape.find_iter(piece).any(|hit| !hit.as_bytes().ends_with(b"EXAMPLE")) {
                found.insert(Found::Shaped(name));
            }
        }
    }
}

/// Which shapes count in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shapes {
    /// None: layers are full of other people's examples.
    No,
    /// Those of tokens; keys of services belong there.
    Tokens,
    /// Those of tokens, and addresses that log in or were signed: BuildKit remembers where things came from.
    Addresses,
    /// Those of tokens and of private keys.
    All,
}

/// Whether there is anything of a secret that can be looked for: it is neither too short nor a common word.
pub(super) fn is_searchable(secret: &Known) -> bool {
    !sensitive::parts(secret.value.reveal_bytes()).parts.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(secret: &str, text: &[u8], shapes: Shapes) -> Vec<Found> {
        let needles = Needles::of(&[Known { name: "it".into(), value: Secret::from_bytes(secret) }]).unwrap();
        let mut found = BTreeSet::new();
        needles.look(text, shapes, &mut found);
        found.into_iter().collect()
    }

    #[test]
    fn shapes_count_where_they_are_asked_for() {
        let text = b"AKIAIOSFODNN7EXAMPLE AKIAQWERTYUIOPASDFGH -----BEGIN RSA PRIVATE KEY-----\nMII";
        assert_eq!(found("hunter2hunter2", text, Shapes::No), []);
        assert_eq!(found("hunter2hunter2", text, Shapes::Tokens), [Found::Shaped("AWS access key")]);
        assert_eq!(found("hunter2hunter2", text, Shapes::All).len(), 2);
        assert_eq!(found("hunter2hunter2", b"AKIAIOSFODNN7EXAMPLE", Shapes::All), []);
        let token = b"\"auth\": \"QVdTOjEyMzQ1Njc4OTAxMi1hdXRoLXRva2Vu\"";
        let both = [Found::Shaped("ECR token"), Found::Shaped(DOCKER_LOGIN)];
        assert_eq!(found("hunter2hunter2", token, Shapes::All), both);
    }

    #[test]
    fn json_of_go_is_read_as_go_writes_it() {
        assert_eq!(found("<a0Aa&  A", br"\u003ca0Aa\u0026  A", Shapes::No), [Found::Known("it".into(), "in JSON")]);
    }

    #[test]
    fn what_is_too_short_is_in_everything() {
        assert_eq!(found("abc", b"abc", Shapes::All), []);
    }
}
