//! Which credentials a repository is shown, in which order, each once.
//!
//! libgit2 asks again and again while it is refused, so the order is a list that ends. Credentials from the URL and the
//! token go to the origin they were given for and to no other, whatever a redirect or a submodule says.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use git2::{Config, Cred, CredentialType, ErrorClass, ErrorCode};

use super::address::{Address, origin};
use crate::auth::Secret;

/// The user names that go with a token when the URL names none, where nobody knows the host's: GitHub's, which BuildKit shows
/// everywhere and others do not look at; GitLab's for its OAuth tokens and for those of its jobs; Bitbucket's.
const TOKEN_USERS: [&str; 4] = [GITHUB, GITLAB[0], GITLAB[1], BITBUCKET];
const GITLAB: [&str; 2] = ["oauth2", "gitlab-ci-token"];
const GITHUB: &str = "x-access-token";
const BITBUCKET: &str = "x-token-auth";

/// What we may show to whom.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    origin: Option<String>,
    user: Option<Secret>,
    password: Option<Secret>,
    token: Option<Secret>,
    /// Which of the token's users the server took, of those that [`token_users`] has.
    taken: Arc<AtomicUsize>,
}

/// What was tried during one connection.
#[derive(Debug, Default)]
pub(super) struct Tried {
    attempts: Vec<Attempt>,
    /// Those that had something to show; the server refused it if it asked again.
    pub(super) shown: Vec<Attempt>,
}

/// One thing to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// User and password of the URL.
    Url,
    /// `CACHEWARM_GIT_TOKEN`, with the user of the URL where that has one, else with one of its host's, by its number.
    Token(usize),
    /// git's credential helpers.
    Helper,
    /// The user of the URL as a token of its own.
    UserAlone,
    /// The ssh agent.
    Agent,
}

impl Attempt {
    /// What a message calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Attempt::Url => "the URL's user and password",
            Attempt::Token(_) => "the git token",
            Attempt::Helper => "git's credential helper",
            Attempt::UserAlone => "the URL's user",
            Attempt::Agent => "the ssh agent",
        }
    }
}

impl Keys {
    /// The keys of the repository at this address.
    pub(super) fn new(address: &Address, token: Option<&Secret>) -> Keys {
        Keys {
            origin: address.origin(),
            user: address.user.clone(),
            password: address.password.clone(),
            token: token.filter(|token| !token.is_empty()).cloned(),
            taken: Arc::default(),
        }
    }

    /// Who may show the token, in the order in which they are tried.
    fn token_users(&self) -> Vec<&str> {
        match self.user.as_ref().filter(|_| self.password.is_none()) {
            Some(own) => vec![own.reveal()],
            None => token_users(self.origin.as_deref().unwrap_or_default()).to_vec(),
        }
    }

    /// Notes who was let in, so that the next connection begins with that one.
    pub(super) fn let_in(&self, tried: &Tried) {
        if let Some(Attempt::Token(user)) = tried.shown.last() {
            self.taken.store(*user, Ordering::Relaxed);
        }
    }

    /// What a program may be told to show to the origin that it is for: user and password.
    pub(super) fn login(&self) -> Option<(&str, &str, &Secret)> {
        let origin = self.origin.as_deref().filter(|origin| origin.starts_with("http"))?;
        let password = self.password.as_ref().filter(|_| self.user.is_some());
        match (&self.user, password, &self.token) {
            (Some(user), Some(password), _) => Some((origin, user.reveal(), password)),
            (_, None, Some(token)) => {
                let users = self.token_users();
                Some((origin, *users.get(self.taken.load(Ordering::Relaxed)).or(users.first())?, token))
            }
            _ => None,
        }
    }

    /// What is left to try at `url`.
    pub(super) fn next(&self, url: &str, allowed: CredentialType, tried: &[Attempt]) -> Option<Attempt> {
        let ours = self.origin.is_some() && origin(url) == self.origin;
        let open = |attempt: &Attempt| match attempt {
            Attempt::Agent => allowed.contains(CredentialType::SSH_KEY),
            _ if !allowed.contains(CredentialType::USER_PASS_PLAINTEXT) => false,
            Attempt::Url => ours && self.user.is_some() && self.password.is_some(),
            Attempt::Token(_) => ours && self.token.is_some() && url.to_lowercase().starts_with("http"),
            Attempt::Helper => true,
            Attempt::UserAlone => ours && self.user.is_some() && self.password.is_none(),
        };
        let taken = self.taken.load(Ordering::Relaxed);
        let others = (0..self.token_users().len()).filter(|user| *user != taken);
        let tokens = std::iter::once(taken).chain(others).map(Attempt::Token);
        let after = [Attempt::Helper, Attempt::UserAlone, Attempt::Agent];
        std::iter::once(Attempt::Url)
            .chain(tokens)
            .chain(after)
            .find(|attempt| !tried.contains(attempt) && open(attempt))
    }

    /// libgit2's question, answered.
    pub(super) fn answer(
        &self,
        url: &str,
        user: Option<&str>,
        allowed: CredentialType,
        tried: &RefCell<Tried>,
    ) -> Result<Cred, git2::Error> {
        let user = user.unwrap_or("git");
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(user);
        }
        loop {
            let next = self.next(url, allowed, &tried.borrow().attempts);
            let attempt = next.ok_or_else(|| {
                git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, "no (further) credentials to try")
            })?;
            let plain = |user: &str, password: &Secret| Cred::userpass_plaintext(user, password.reveal());
            let own = self.user.as_ref().map(Secret::reveal);
            let credentials = match attempt {
                Attempt::Url => plain(own.unwrap_or_default(), self.password.as_ref().unwrap_or(&Secret::default())),
                Attempt::Token(user) => {
                    let user = self.token_users().get(user).copied().unwrap_or_default();
                    plain(user, self.token.as_ref().unwrap_or(&Secret::default()))
                }
                Attempt::Helper => Config::open_default().and_then(|config| {
                    let ours = origin(url) == self.origin && self.password.is_none();
                    Cred::credential_helper(&config, url, own.filter(|_| ours))
                }),
                Attempt::UserAlone => plain(own.unwrap_or_default(), &Secret::default()),
                Attempt::Agent => Cred::ssh_key_from_agent(user),
            };
            tried.borrow_mut().attempts.push(attempt);
            if let Ok(credentials) = credentials {
                tried.borrow_mut().shown.push(attempt);
                return Ok(credentials);
            }
        }
    }
}

/// The users of an origin's tokens.
fn token_users(origin: &str) -> &'static [&'static str] {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host.split(':').next().unwrap_or(host));
    let is_of = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    match host {
        _ if is_of("github.com") || is_of("ghe.com") => &[GITHUB],
        _ if is_of("bitbucket.org") => &[BITBUCKET],
        _ if host.split('.').any(|part| part == "gitlab") => &GITLAB,
        _ => &TOKEN_USERS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(keys: &Keys, url: &str, allowed: CredentialType) -> Vec<Attempt> {
        let mut tried = Vec::new();
        while let Some(attempt) = keys.next(url, allowed, &tried) {
            tried.push(attempt);
        }
        tried
    }

    const PLAIN: CredentialType = CredentialType::USER_PASS_PLAINTEXT;

    #[test]
    fn each_way_is_tried_once_the_url_first_the_helper_last() {
        let token = Secret::new("t");
        let keys = Keys::new(&Address::new("https://u:p@h/a"), Some(&token));
        let tokens = [0, 1, 2, 3].map(Attempt::Token);
        let all = [&[Attempt::Url], &tokens[..], &[Attempt::Helper]].concat();
        assert_eq!(order(&keys, "https://h/a", PLAIN), all);
        let keys = Keys::new(&Address::new("https://ghp_x@h/a"), None);
        assert_eq!(order(&keys, "https://h/a", PLAIN), [Attempt::Helper, Attempt::UserAlone]);
        let keys = Keys::new(&Address::new("git@h:a"), Some(&token));
        assert_eq!(order(&keys, "ssh://git@h/a", CredentialType::SSH_KEY), [Attempt::Agent]);
    }

    #[test]
    fn a_token_has_the_user_of_the_url_else_of_the_host_else_of_one_after_the_other() {
        let users = |url: &str| {
            let keys = Keys::new(&Address::new(url), Some(&Secret::new("t")));
            keys.token_users().into_iter().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(users("https://deploy-1@gitlab.com/a"), "deploy-1");
        assert_eq!((users("https://github.com/a"), users("https://acme.ghe.com/a")), (GITHUB.into(), GITHUB.into()));
        assert_eq!(users("https://bitbucket.org/a"), BITBUCKET);
        assert_eq!(users("https://gitlab.acme.example:8443/a"), "oauth2 gitlab-ci-token");
        assert_eq!(users("https://u:p@notgithub.com/a"), TOKEN_USERS.join(" "));
    }

    #[test]
    fn whoever_was_let_in_is_first_the_next_time() {
        let keys = Keys::new(&Address::new("https://h/a"), Some(&Secret::new("t")));
        keys.let_in(&Tried { attempts: Vec::new(), shown: vec![Attempt::Token(0), Attempt::Token(2)] });
        assert_eq!(order(&keys, "https://h/a", PLAIN)[..2], [Attempt::Token(2), Attempt::Token(0)]);
        assert_eq!(keys.login().map(|(_, user, _)| user), Some("gitlab-ci-token"));
    }

    #[test]
    fn nobody_else_is_shown_what_was_meant_for_one_origin() {
        let token = Secret::new("t");
        let keys = Keys::new(&Address::new("https://u:p@h/a"), Some(&token));
        for other in ["https://evil/a", "http://h/a", "https://h:8443/a"] {
            assert_eq!(order(&keys, other, PLAIN), [Attempt::Helper], "{other}");
        }
    }
}
