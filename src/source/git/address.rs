//! A repository's address, taken apart so that its credentials are never written or printed. Pure.
//!
//! **Invariant:** [`Address::remote`] and [`Address::shown`] hold no password and, over http(s), no user either.

use crate::auth::Secret;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// What libgit2 is given: the URL without credentials, or a path.
    pub(super) remote: String,
    /// The user in the URL, if any; over http(s) a token may stand here, so it is as secret as a password.
    pub(super) user: Option<Secret>,
    /// The password in the URL, if any.
    pub(super) password: Option<Secret>,
}

impl Address {
    /// Takes a URL, an scp-like address (`git@host:path`) or a path apart.
    pub(super) fn new(url: &str) -> Address {
        let Some((scheme, rest)) = url.split_once("://") else {
            let user = scp_host(url).and_then(|host| host.rsplit_once('@')).map(|(user, _)| Secret::new(user));
            return Address { remote: url.to_owned(), user, password: None };
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (userinfo, host) = authority.rsplit_once('@').map_or((None, authority), |(info, host)| (Some(info), host));
        let (user, password) = match userinfo {
            None => (None, None),
            Some(info) => match info.split_once(':') {
                Some((user, password)) => (Some(decoded(user)), Some(decoded(password))),
                None => (Some(decoded(info)), None),
            },
        };
        let web = matches!(scheme.to_lowercase().as_str(), "http" | "https");
        let kept = match userinfo {
            Some(info) if !web => format!("{}@", info.split(':').next().unwrap_or(info)),
            _ => String::new(),
        };
        let filled = |text: String| (!text.is_empty()).then(|| Secret::new(text));
        Address {
            remote: format!("{scheme}://{kept}{host}{path}"),
            user: user.and_then(filled),
            password: password.and_then(filled),
        }
    }

    /// The address for people: without credentials, and without a query, which could hold some too.
    pub(super) fn shown(&self) -> &str {
        match self.remote.contains("://") {
            true => self.remote.split(['?', '#']).next().unwrap_or(&self.remote),
            false => without_password(&self.remote),
        }
    }

    /// Scheme, host and port; credentials meant for one origin are never shown to another.
    pub(super) fn origin(&self) -> Option<String> {
        origin(&self.remote)
    }

    /// Whether it is a directory of this machine.
    pub(super) fn is_local(&self) -> bool {
        self.remote.starts_with("file://") || (!self.remote.contains("://") && scp_host(&self.remote).is_none())
    }

    /// Whether it is spoken to over ssh.
    pub(super) fn is_ssh(&self) -> bool {
        match self.remote.split_once("://") {
            Some((scheme, _)) => scheme.eq_ignore_ascii_case("ssh"),
            None => scp_host(&self.remote).is_some(),
        }
    }

    /// The host that ssh is told, with its user, and its port.
    pub(super) fn ssh_host(&self) -> Option<(&str, Option<&str>)> {
        let Some((_, rest)) = self.remote.split_once("://").filter(|_| self.is_ssh()) else {
            return Some((scp_host(&self.remote).filter(|_| self.is_ssh())?, None));
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        Some((host, port.filter(|port| !port.is_empty())))
    }

    /// The address of a submodule: a URL of its own, or one relative to this one (`../lib.git`), as git reads it.
    pub(super) fn submodule(&self, url: &str) -> Address {
        if !url.starts_with("./") && !url.starts_with("../") {
            return Address::new(url);
        }
        let mut base = self.remote.split(['?', '#']).next().unwrap_or(&self.remote).trim_end_matches('/');
        let mut rest = url;
        let mut separator = '/';
        loop {
            if let Some(next) = rest.strip_prefix("../") {
                rest = next;
                let cut = base.rfind(['/', ':']).filter(|&cut| !base[cut..].starts_with("://"));
                if let Some(cut) = cut.filter(|&cut| !base[..cut].ends_with([':', '/'])) {
                    separator = if base[cut..].starts_with(':') { ':' } else { '/' };
                    base = &base[..cut];
                }
            } else if let Some(next) = rest.strip_prefix("./") {
                rest = next;
            } else {
                break;
            }
        }
        let remote = format!("{base}{separator}{}", rest.trim_end_matches('/'));
        Address { remote, user: self.user.clone(), password: self.password.clone() }
    }

    /// A message without anything secret this address was given with.
    pub(super) fn redacted(&self, message: &str) -> String {
        let web = self.origin().is_some_and(|origin| origin.starts_with("http"));
        let secrets = [self.password.as_ref(), self.user.as_ref().filter(|_| web && self.password.is_none())];
        let mut message = message.replace(&self.remote, self.shown());
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            message = message.replace(secret.reveal(), "****");
        }
        message
    }
}

/// Scheme, host and port of a URL, in lower case, without credentials.
pub(super) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_lowercase();
    let scheme = scheme.to_lowercase();
    let port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    Some(format!("{scheme}://{}", host.strip_suffix(port).filter(|_| !port.is_empty()).unwrap_or(&host)))
}

/// The part before the colon of `user@host:path`, as git tells it from a path: no slash before the first colon.
/// Only for addresses without a scheme.
fn scp_host(address: &str) -> Option<&str> {
    let (host, _) = address.split_once(':')?;
    (!host.is_empty() && !host.contains('/')).then_some(host)
}

/// Percent-decoding, as URLs need it for userinfo.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|hex| hex.bytes().all(|it| it.is_ascii_hexdigit())).map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address without a scheme, without `USER:PASSWORD@` before its path: people write it when they forget `https://`.
fn without_password(address: &str) -> &str {
    let end = address.find('/').unwrap_or(address.len());
    match address[..end].rsplit_once('@') {
        Some((login, _)) if login.contains(':') => &address[login.len() + 1..],
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(url: &str) -> (String, Option<String>, Option<String>) {
        let address = Address::new(url);
        let text = |secret: Option<Secret>| secret.map(|secret| secret.reveal().to_owned());
        (address.remote, text(address.user), text(address.password))
    }

    #[test]
    fn credentials_leave_the_url_and_users_of_ssh_stay() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("https://u:p%40ss@h:8/a.git"), ("https://h:8/a.git".into(), some("u"), some("p@ss")));
        assert_eq!(parts("https://tok@h/a"), ("https://h/a".into(), some("tok"), None));
        assert_eq!(parts("ssh://git:pw@h/a"), ("ssh://git@h/a".into(), some("git"), some("pw")));
        assert_eq!(parts("git@h:a/b.git"), ("git@h:a/b.git".into(), some("git"), None));
        assert_eq!(parts("/srv/a@b"), ("/srv/a@b".into(), None, None));
        assert_eq!(parts("https://h/a@b:c"), ("https://h/a@b:c".into(), None, None));
    }

    #[test]
    fn directories_ssh_and_the_web_are_told_apart() {
        let kind = |url: &str| (Address::new(url).is_local(), Address::new(url).is_ssh());
        assert_eq!(kind("http://h/a"), (false, false));
        assert_eq!((kind("git@h:a"), kind("ssh://h/a")), ((false, true), (false, true)));
        assert_eq!((kind("../a"), kind("file:///a"), kind("./a:b")), ((true, false), (true, false), (true, false)));
    }

    #[test]
    fn ssh_is_told_a_host_and_a_port() {
        let host = |url: &str| Address::new(url).ssh_host().map(|(host, port)| format!("{host} {port:?}"));
        assert_eq!(host("git@alias:a/b.git").as_deref(), Some("git@alias None"));
        assert_eq!(host("ssh://git@h:2222/a").as_deref(), Some("git@h Some(\"2222\")"));
        assert_eq!(host("ssh://[::1]/a").as_deref(), Some("[::1] None"));
        assert_eq!((host("https://h/a"), host("/srv/a")), (None, None));
    }

    #[test]
    fn a_password_in_an_scp_like_address_is_not_shown() {
        let address = Address::new("x:sesame@host/a/b");
        assert_eq!(address.shown(), "host/a/b");
        assert_eq!(address.redacted("no route to x:sesame@host/a/b"), "no route to host/a/b");
        for plain in ["git@host:a/b@c", "host:a/b@c", "/srv/a:b@c", "./a@b"] {
            assert_eq!(Address::new(plain).shown(), plain);
        }
    }

    #[test]
    fn a_query_is_not_shown() {
        assert_eq!(Address::new("https://u:p@h/a?private_token=x").shown(), "https://h/a");
    }

    #[test]
    fn submodules_are_found_relative_to_their_parent() {
        let relative = |base: &str, url: &str| Address::new(base).submodule(url).remote;
        assert_eq!(relative("https://h/a/app.git", "../lib.git"), "https://h/a/lib.git");
        assert_eq!(relative("https://h/a/app.git/", "../../b/lib.git"), "https://h/b/lib.git");
        assert_eq!(relative("git@h:a/app.git", "../lib.git"), "git@h:a/lib.git");
        assert_eq!(relative("git@h:app.git", "../lib.git"), "git@h:lib.git");
        assert_eq!(relative("/srv/app", "./lib"), "/srv/app/lib");
        assert_eq!(relative("https://h/a", "https://other/b"), "https://other/b");
        assert_eq!(relative("https://h/a", "../../../../x"), "https://h/x");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://u@H:443/a"), origin("https://h/b"));
        assert_ne!(origin("https://h/a"), origin("http://h/a"));
        assert_ne!(origin("https://h:8443/a"), origin("https://h/a"));
        assert_eq!(origin("git@h:a"), None);
    }

    proptest! {
        #[test]
        fn no_password_is_ever_left_in_an_address(
            scheme in "(https?|ssh)", user in "[a-z]{1,6}", password in "[A-Z]{4,9}", rest in "[a-z./?#:]{0,12}",
        ) {
            let address = Address::new(&format!("{scheme}://{user}:{password}@host/{rest}"));
            prop_assert!(!address.remote.contains(&password));
            let debug = format!("{address:?}");
            prop_assert!(!debug.contains(&password));
            prop_assert_eq!(address.redacted(&format!("x {password} y")), "x **** y");
        }

        #[test]
        fn no_address_makes_us_panic(base in ".{0,20}", url in "(\\.\\./|\\./){0,4}.{0,20}") {
            let address = Address::new(&base);
            let _ = (address.submodule(&url), address.origin(), address.shown().len(), address.is_local(), address.ssh_host());
        }
    }
}
