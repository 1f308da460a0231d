//! References to images and caches, read as docker reads them.
//!
//! **Invariant:** a [`Reference`] is complete: it has a host, and a tag or a digest. Asks nobody. The grammar of
//! repository, tag and digest is `oci-spec`'s; which part is the host is decided here, because docker knows two hosts
//! that crate does not (IPv6 in brackets, and a first part with capitals). Source: distribution/reference, normalize.go.

use std::fmt;

use oci_spec::distribution::Reference as Grammar;

/// Docker Hub as references name it, and the host that serves it.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// Stands in for the host while `oci-spec` reads the rest.
const STAND_IN: &str = "host.invalid";

/// `HOST/REPOSITORY[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Reads what a person would give to `docker pull`.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Reference, String> {
        let wrong = |why: &dyn fmt::Display| format!("`{text}` is not an image reference: {why}");
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong(&"it is an image id"));
        }
        let (host, rest) = split_host(text);
        if !is_host(&host) {
            return Err(wrong(&format!("`{host}` is not a host")));
        }
        let grammar: Grammar = format!("{STAND_IN}/{rest}").parse().map_err(|error| wrong(&error))?;
        // The expression above lets a part with capitals pass as if it were a host.
        if grammar.repository().bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong(&"the repository must be lowercase"));
        }
        Ok(Reference {
            host,
            repository: grammar.repository().to_owned(),
            tag: grammar.tag().map(str::to_owned),
            digest: grammar.digest().map(str::to_owned),
        })
    }

    /// The host as references and `buildkitd.toml` name it: `docker.io`, `127.0.0.1:5000`, `[::1]:5000`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The host that answers for [`Reference::host`], and that credentials are asked for.
    pub(crate) fn api_host(&self) -> &str {
        api_host(&self.host)
    }

    /// The path below the host: `library/busybox`.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if it has one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it has one.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What a manifest is asked for by: the digest when there is one, as BuildKit does; else the tag.
    pub(crate) fn object(&self) -> &str {
        self.digest().or(self.tag()).unwrap_or("latest")
    }
}

/// The host that answers for `host`.
pub(super) fn api_host(host: &str) -> &str {
    if host == HUB.0 { HUB.1 } else { host }
}

/// Docker's rule: the first part is a host if it looks like one, or could not be a part of a repository.
fn split_host(text: &str) -> (String, String) {
    let hub = |rest: &str| {
        let official = rest.split(['@']).next().is_some_and(|name| !name.contains('/'));
        (HUB.0.to_owned(), if official { format!("library/{rest}") } else { rest.to_owned() })
    };
    match text.split_once('/') {
        Some(("docker.io" | "index.docker.io", rest)) => hub(rest),
        Some((first, rest)) if first == "localhost" || looks_like_host(first) => (first.to_owned(), rest.to_owned()),
        _ => hub(text),
    }
}

fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// `NAME[:PORT]` as `oci-spec` knows it, or `[IPV6][:PORT]`.
fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        return port && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host == "localhost" || format!("{host}/x").parse::<Grammar>().is_ok()
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn canonical(text: &str) -> String {
        Reference::parse(text).expect("it is a reference").to_string()
    }

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("user/cache:main", "docker.io/user/cache:main"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/cache", "localhost/cache:latest"),
            ("localhost:5000/a/b/c:t", "localhost:5000/a/b/c:t"),
            ("127.0.0.1:5000/cache", "127.0.0.1:5000/cache:latest"),
            ("[::1]:5000/cache:main", "[::1]:5000/cache:main"),
            ("[fd00::2]/cache", "[fd00::2]/cache:latest"),
            ("Registry/cache", "Registry/cache:latest"),
            ("r.example.com/cache:1.0-x_y", "r.example.com/cache:1.0-x_y"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn a_digest_is_kept_beside_the_tag_and_wins_over_it() {
        let reference = Reference::parse(&format!("busybox:1@{DIGEST}")).unwrap();
        assert_eq!((reference.tag(), reference.digest(), reference.object()), (Some("1"), Some(DIGEST), DIGEST));
        assert_eq!(canonical(&format!("h.io/x@{DIGEST}")), format!("h.io/x@{DIGEST}"));
        assert_eq!(canonical(&format!("x@{DIGEST}")), format!("docker.io/library/x@{DIGEST}"));
    }

    #[test]
    fn docker_hub_answers_under_another_name() {
        assert_eq!(Reference::parse("busybox").unwrap().api_host(), "registry-1.docker.io");
        assert_eq!(Reference::parse("h.io:1/x").unwrap().api_host(), "h.io:1");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "/",
            "a//b",
            "h.io/",
            "h.io/Upper",
            "Upper",
            "x:tag:tag",
            "x@sha256:12",
            "https://h.io/x",
            "[::1/x",
            "[::1]:port/x",
            "h.io/x y",
            "h.io/x:{rev}",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}: {:?}", Reference::parse(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,80}") {
            let _ = Reference::parse(&text);
        }

        #[test]
        fn the_canonical_form_reads_as_itself(text in "([a-z]{1,5}(\\.[a-z]{2,3})?(:[0-9]{2,4})?/)?[a-z]{1,8}(/[a-z0-9]{1,8}){0,2}(:[a-z0-9]{1,8})?") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
