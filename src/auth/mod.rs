//! Who we are: credentials for registries, held in memory only.
//!
//! Logins come from docker's own configuration ([`docker_config`]), those of ECR hosts that are not in it from AWS ([`ecr`]);
//! who is in neither is anonymous. Where an ECR host refuses the one, it is shown the other.
//!
//! **Invariant:** no credential is printed, logged or written, and no environment variable is read here
//! (the AWS SDK reads its own).

mod aws_client;
mod docker_config;
mod ecr;
mod ecr_host;
mod secret;
mod ssh_key;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ecr::{Answer, EcrTokens};
use ecr_host::EcrHost;

pub(crate) use docker_config::DockerConfig;
pub(crate) use secret::Secret;
pub(crate) use ssh_key::has_passphrase;

/// Where credentials may come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeychainOptions {
    /// The folder of docker's `config.json` (`DOCKER_CONFIG`, else `~/.docker`).
    pub(crate) docker_config: Option<PathBuf>,
    /// `DOCKER_AUTH_CONFIG`: logins in the form of `config.json`, which come before those of the file.
    pub(crate) docker_auth: Option<Secret>,
    /// `--aws-profile`; for ECR it comes before docker's configuration.
    pub(crate) aws_profile: Option<String>,
    /// `--aws-region`: overrides the region in an ECR host's name.
    pub(crate) aws_region: Option<String>,
}

/// What a registry wants to see. An empty `username` means that `password` is an identity (refresh) token, which is
/// what BuildKit's session protocol means by it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user; `AWS` for ECR; empty for an identity token.
    pub(crate) username: String,
    /// The password or token.
    pub(crate) password: Secret,
}

/// Everything we can log in with. Clones share one memory of tokens.
#[derive(Debug, Clone)]
pub(crate) struct Keychain(Arc<Sources>);

#[derive(Debug)]
struct Sources {
    options: KeychainOptions,
    ecr: EcrTokens,
    /// The ECR hosts that refused the login of docker's configuration.
    refused: Mutex<HashSet<String>>,
}

impl Keychain {
    /// The folder of docker's configuration.
    #[cfg(test)]
    pub(crate) fn docker_config(&self) -> Option<PathBuf> {
        self.0.options.docker_config.clone()
    }

    /// Opens nothing and asks nobody yet.
    pub(crate) fn new(options: KeychainOptions) -> Keychain {
        let ecr = EcrTokens::new(options.aws_profile.clone(), options.aws_region.clone());
        Keychain(Arc::new(Sources { options, ecr, refused: Mutex::default() }))
    }

    /// The credentials for `host` as BuildKit's session asks for it (`registry-1.docker.io` for Docker Hub, a mirror's
    /// own host, `127.0.0.1:5000`), or `None`: go anonymously.
    ///
    /// # Errors
    ///
    /// A [`crate::failure::Failure`] that says who refused and what to do: AWS denied or throttled or is out of reach,
    /// a credential helper is missing or failed, docker's configuration cannot be read.
    pub(crate) async fn credentials(&self, host: &str) -> anyhow::Result<Option<Credentials>> {
        let Some(ecr_host) = EcrHost::parse(host) else {
            return self.login_of_docker(host).await;
        };
        let is_refused = self.refused().contains(host);
        let is_first = self.0.options.aws_profile.is_none() && !is_refused;
        let login = if is_refused { Ok(None) } else { self.login_of_docker(host).await };
        if is_first
            && let Ok(Some(login)) = &login
            && !has_expired(login)
        {
            return Ok(Some(login.clone()));
        }
        match (self.0.ecr.credentials(&ecr_host).await, login) {
            (Ok(Answer::Credentials(credentials)), _) => Ok(Some(credentials)),
            // Someone without AWS credentials may still have done `docker login` with a token from elsewhere.
            (Ok(Answer::NobodyHere(_)), Ok(Some(login))) => Ok(Some(login)),
            (Ok(Answer::NobodyHere(_)), Err(error)) => Err(error),
            (Ok(Answer::NobodyHere(error)) | Err(error), _) if is_refused => {
                Err(error.context(format!("{host} refused the login of docker's configuration")))
            }
            (Ok(Answer::NobodyHere(error)) | Err(error), _) => Err(error),
        }
    }

    /// Says that `host` refused what it was shown. `true` when there may be something else to show: AWS's login, where there is
    /// one in docker's configuration, which is shown first.
    pub(crate) async fn pass_over(&self, host: &str) -> bool {
        let is_ecr = EcrHost::parse(host).is_some() && self.0.options.aws_profile.is_none();
        let has_login = is_ecr && matches!(self.login_of_docker(host).await, Ok(Some(login)) if !has_expired(&login));
        if has_login {
            self.refused().insert(host.to_owned());
        }
        has_login
    }

    /// Whose logins `host` was shown, where it was more than one's.
    pub(crate) fn shown(&self, host: &str) -> Option<&'static str> {
        self.refused()
            .contains(host)
            .then_some("the login of docker's configuration was refused, and so was that of AWS")
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what is remembered for `host`, because the registry says it has expired; the next
    /// [`Keychain::credentials`] asks anew. `false` when nothing was remembered, so that asking anew is pointless.
    pub(crate) fn forget(&self, host: &str) -> bool {
        EcrHost::parse(host).is_some_and(|ecr_host| self.0.ecr.forget(&ecr_host))
    }

    async fn login_of_docker(&self, host: &str) -> anyhow::Result<Option<Credentials>> {
        let options = &self.0.options;
        if let Some(text) = &options.docker_auth
            && let Some(login) = DockerConfig::of_variable(text)?.login(host)?
        {
            return Ok(Some(login));
        }
        match &options.docker_config {
            Some(folder) => DockerConfig::read(folder)?.credentials(host).await,
            None => Ok(None),
        }
    }
}

/// Whether a password of ECR says of itself that it has expired: it is JSON in base64. Logins that a script stored for docker
/// half a day ago are common.
fn has_expired(login: &Credentials) -> bool {
    #[derive(serde::Deserialize)]
    struct Token {
        expiration: u64,
    }
    let token =
        docker_config::decoded(login.password.reveal()).and_then(|bytes| serde_json::from_slice::<Token>(&bytes).ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    token.is_some_and(|token| token.expiration <= now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_logins_of_the_variable_come_before_those_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let text = |auth: &str, host: &str| format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#);
        // printf user:s3cr3t | base64; printf me:own | base64
        std::fs::write(folder.path().join("config.json"), text("dXNlcjpzM2NyM3Q=", "r.example")).unwrap();
        let variable = |text: String| KeychainOptions {
            docker_config: Some(folder.path().into()),
            docker_auth: Some(Secret::new(text)),
            ..KeychainOptions::default()
        };
        let user =
            async |options| Keychain::new(options).credentials("r.example").await.map(|login| login.unwrap().username);
        assert_eq!(user(variable(text("bWU6b3du", "r.example"))).await.unwrap(), "me");
        assert_eq!(user(variable(text("bWU6b3du", "other.example"))).await.unwrap(), "user");
        let error = user(variable("{hush".to_owned())).await.unwrap_err();
        assert!(
            error.to_string().contains("DOCKER_AUTH_CONFIG") && !format!("{error:#}").contains("hush"),
            "{error:#}"
        );
    }

    #[test]
    fn a_password_of_ecr_tells_when_it_expires() {
        use base64::Engine;
        let login = |text: String| Credentials { username: "AWS".into(), password: Secret::new(text) };
        let token = |expiration: u64| {
            let text =
                format!(r#"{{"payload":"x","datakey":"y","version":"2","type":"DATA_KEY","expiration":{expiration}}}"#);
            login(base64::engine::general_purpose::STANDARD.encode(text))
        };
        assert!(has_expired(&token(1_700_000_000)) && !has_expired(&token(u64::MAX)));
        assert!(!has_expired(&login("123456789012-auth-token".into())));
    }

    #[tokio::test]
    async fn without_any_configuration_a_registry_is_visited_anonymously() {
        let keychain = Keychain::new(KeychainOptions::default());
        assert_eq!(keychain.credentials("registry.example.com").await.unwrap(), None);
        assert_eq!(keychain.credentials("public.ecr.aws").await.unwrap(), None);
        assert!(!keychain.forget("registry.example.com"));
    }

    #[tokio::test]
    async fn a_docker_login_is_used_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"auths": {"127.0.0.1:5000": {"auth": "dXNlcjpzM2NyM3Q="}}}"#;
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let options = KeychainOptions { docker_config: Some(folder.path().into()), ..KeychainOptions::default() };
        let found = Keychain::new(options).credentials("127.0.0.1:5000").await.unwrap().expect("it is configured");
        assert_eq!((found.username.as_str(), found.password.reveal()), ("user", "s3cr3t"));
        assert!(!format!("{found:?}").contains("s3cr3t"));
    }
}
