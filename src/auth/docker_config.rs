//! Docker's `config.json`: `auths`, `credHelpers`, `credsStore`, looked up as docker does; and what others need of it.
//!
//! **Invariant:** reads, and never writes; an error shows positions and names, never a value of the file or what a
//! helper wrote when it succeeded. Sources: `cli/config/configfile/file.go` and `cli/config/credentials/*.go` of
//! docker/cli, `client/client.go` of docker-credential-helpers. The desktop key rings that docker finds on its own are
//! deliberately not looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Credentials, Secret};
use crate::beneath::is_absent;
use crate::failure::{Explain, Failure, Kind};
use crate::foreign;

/// How docker files Docker Hub's credentials.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that marks an identity token in a credential helper's answer.
const TOKEN_USER: &str = "<token>";
/// What a credential helper prints when it has nothing for a host.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// A helper that asks a cloud for a token takes seconds; one that waits for a person waits forever.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of the largest `config.json` that is read.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Docker's configuration, as far as it counts here.
#[derive(Default, Deserialize)]
pub(crate) struct DockerConfig {
    /// The context that docker's client uses.
    #[serde(rename = "currentContext")]
    pub(crate) current_context: Option<String>,
    /// The proxies of builds, by the daemon's address or `default`.
    pub(crate) proxies: Option<BTreeMap<String, Proxies>>,
    auths: Option<BTreeMap<String, Login>>,
    #[serde(rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

/// What is a build argument of every build.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proxies {
    pub(crate) http_proxy: Option<String>,
    pub(crate) https_proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
    pub(crate) ftp_proxy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Login {
    username: Option<String>,
    password: Option<Secret>,
    auth: Option<Secret>,
    identitytoken: Option<Secret>,
}

/// Where the configuration sends us for a host.
#[derive(Debug)]
enum Place<'a> {
    Helper { name: &'a str, server: String },
    File(&'a Login),
    Nowhere,
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: Secret,
}

impl DockerConfig {
    /// Reads `config.json` in `folder`; a missing file is an empty configuration.
    ///
    /// # Errors
    /// Explained: when it cannot be read, or is none.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<DockerConfig> {
        let path = folder.join("config.json");
        let bytes = match File::open(&path) {
            Err(error) if is_absent(&error) => return Ok(DockerConfig::default()),
            file => file.map_err(anyhow::Error::from).and_then(|file| foreign::read(file, LIMIT)),
        };
        bytes.and_then(|bytes| DockerConfig::parse(&bytes)).explain(
            Kind::Environment,
            format!("could not read docker's configuration {}", path.display()),
            "repair the file, or point DOCKER_CONFIG at another folder",
        )
    }

    /// Reads `DOCKER_AUTH_CONFIG`.
    pub(super) fn of_variable(text: &Secret) -> anyhow::Result<DockerConfig> {
        DockerConfig::parse(text.reveal().as_bytes()).explain(
            Kind::Environment,
            "could not read DOCKER_AUTH_CONFIG",
            "set it to the text of a docker config.json with `auths`, or unset it",
        )
    }

    /// The login for `host` among `auths`, whatever helpers there are.
    pub(super) fn login(&self, host: &str) -> anyhow::Result<Option<Credentials>> {
        let login = self.entry(host).map(|login| login.credentials(host));
        login.transpose().map(Option::flatten)
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<DockerConfig> {
        if bytes.trim_ascii().is_empty() {
            return Ok(DockerConfig::default());
        }
        // serde_json's own message may quote a value of the file.
        serde_json::from_slice(bytes).map_err(|error| {
            anyhow::anyhow!("it is not a docker configuration: line {}, column {}", error.line(), error.column())
        })
    }

    /// The credentials for `host`, or `None` when nothing is configured for it.
    pub(super) async fn credentials(&self, host: &str) -> anyhow::Result<Option<Credentials>> {
        match self.place(host) {
            Place::Helper { name, server } => {
                let program = format!("docker-credential-{name}");
                if name.contains('/') {
                    return Err(Failure::new(
                        Kind::Environment,
                        format!("docker's configuration names a credential helper `{name}`, which is a path"),
                        "write the part after `docker-credential-` in credHelpers or credsStore",
                    ));
                }
                ask(Command::new(&program), &program, &server).await
            }
            Place::File(login) => login.credentials(host),
            Place::Nowhere => Ok(None),
        }
    }

    fn place(&self, host: &str) -> Place<'_> {
        let hub = is_hub(host);
        let server = if hub { HUB_KEY.to_owned() } else { host.to_owned() };
        let named = self.helpers.iter().flatten().find(|(key, _)| **key == server).map(|(_, name)| name);
        if let Some(name) = named.or(self.store.as_ref()).filter(|name| !name.is_empty()) {
            return Place::Helper { name, server };
        }
        self.entry(host).map_or(Place::Nowhere, Place::File)
    }

    fn entry(&self, host: &str) -> Option<&Login> {
        let hub = is_hub(host);
        let server = if hub { HUB_KEY } else { host };
        let entries = || self.auths.iter().flatten();
        let exact = entries().find(|(key, _)| **key == server);
        let same_host = |key: &str| if hub { is_hub(host_of(key)) } else { host_of(key) == host };
        exact.or_else(|| entries().find(|(key, _)| same_host(key))).map(|(_, login)| login)
    }
}

impl Login {
    fn credentials(&self, host: &str) -> anyhow::Result<Option<Credentials>> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credentials { username: String::new(), password: token.clone() }));
        }
        if let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let found = decode_auth(auth.reveal()).ok_or_else(|| {
                Failure::new(
                    Kind::Environment,
                    format!("docker's configuration has an `auth` for {host} that is not base64 of USER:PASSWORD"),
                    format!("run `docker login {host}` again"),
                )
            })?;
            return Ok(Some(found));
        }
        match (&self.username, &self.password) {
            (Some(username), Some(password)) if !username.is_empty() && !password.is_empty() => {
                Ok(Some(Credentials { username: username.clone(), password: password.clone() }))
            }
            _ => Ok(None),
        }
    }
}

/// `USER:PASSWORD` out of base64, as docker and ECR write it; nobody logs in without a user.
pub(super) fn decode_auth(auth: &str) -> Option<Credentials> {
    decode_login(auth).filter(|login| !login.username.is_empty())
}

/// As [`decode_auth`], whoever the user is.
pub(crate) fn decode_login(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(decoded(auth)?).ok()?;
    let (username, password) = text.split_once(':')?;
    let password = Secret::new(password.trim_matches('\0'));
    Some(Credentials { username: username.to_owned(), password })
}

/// What stands in base64, padded or not.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, lenient).decode(text.trim()).ok()
}

/// Docker Hub under any of its names.
fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// The host of a key that may be a URL, as docker converts the keys of old configurations.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

/// Runs a credential helper: `get`, the server's address on its standard input, JSON on its standard output.
async fn ask(mut command: Command, program: &str, server: &str) -> anyhow::Result<Option<Credentials>> {
    let what = format!("could not get credentials for {server} from {program}");
    let hint = format!("run `echo {server} | {program} get` and repair what it says");
    let spawned = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.explain(
        Kind::Environment,
        format!("could not start {program}, the credential helper docker's configuration names for {server}"),
        format!("install {program} into PATH, or remove it from credHelpers and credsStore"),
    )?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input closes the pipe; its answer counts all the same.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER_TIMEOUT, talk).await {
        Ok(output) => output.explain(Kind::Environment, what.as_str(), hint.as_str())?,
        Err(_) => {
            let what = format!("{what}: no answer within {} seconds", HELPER_TIMEOUT.as_secs());
            return Err(Failure::new(Kind::Environment, what, hint));
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        if said.trim() == NOT_FOUND {
            return Ok(None);
        }
        let complaint = format!("{} {}", said.trim(), String::from_utf8_lossy(&output.stderr).trim());
        let complaint: String = complaint.trim().chars().take(300).collect();
        return Err(Failure::new(Kind::Environment, format!("{what}: {} ({complaint})", output.status), hint));
    }
    let Ok(answer) = serde_json::from_slice::<HelperAnswer>(&output.stdout) else {
        let what = format!("{what}: its answer is not the JSON of a credential helper");
        return Err(Failure::new(Kind::Environment, what, hint));
    };
    if answer.secret.is_empty() {
        return Ok(None);
    }
    let username = if answer.username == TOKEN_USER { String::new() } else { answer.username };
    Ok(Some(Credentials { username, password: answer.secret }))
}

#[cfg(test)]
#[path = "docker_config_tests.rs"]
mod tests;
