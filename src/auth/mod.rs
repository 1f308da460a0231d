//! Who we are: credentials for registries, held in memory only.
//!
//! ECR hosts are asked through AWS ([`ecr`]), everything else through docker's own configuration
//! ([`docker_config`]); who is in neither is anonymous.
//!
//! **Invariant:** no credential is printed, logged or written, and no environment variable is read here
//! (the AWS SDK reads its own).

mod docker_config;
mod ecr;
mod ecr_host;
mod secret;

use std::path::PathBuf;
use std::sync::Arc;

use ecr::{Answer, EcrTokens};
use ecr_host::EcrHost;

pub(crate) use docker_config::DockerConfig;
pub(crate) use secret::Secret;

/// Where credentials may come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeychainOptions {
    /// The folder of docker's `config.json` (`DOCKER_CONFIG`, else `~/.docker`).
    pub(crate) docker_config: Option<PathBuf>,
    /// `--aws-profile`.
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
        Keychain(Arc::new(Sources { options, ecr }))
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
        match self.0.ecr.credentials(&ecr_host).await? {
            Answer::Credentials(credentials) => Ok(Some(credentials)),
            // Someone without AWS credentials may still have done `docker login` with a token from elsewhere.
            Answer::NobodyHere(explained) => match self.login_of_docker(host).await? {
                Some(credentials) => Ok(Some(credentials)),
                None => Err(explained),
            },
        }
    }

    /// Forgets what is remembered for `host`, because the registry says it has expired; the next
    /// [`Keychain::credentials`] asks anew. `false` when nothing was remembered, so that asking anew is pointless.
    pub(crate) fn forget(&self, host: &str) -> bool {
        EcrHost::parse(host).is_some_and(|ecr_host| self.0.ecr.forget(&ecr_host))
    }

    async fn login_of_docker(&self, host: &str) -> anyhow::Result<Option<Credentials>> {
        match &self.0.options.docker_config {
            Some(folder) => DockerConfig::read(folder)?.credentials(host).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
