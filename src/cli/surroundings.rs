//! What buildx takes from its surroundings into every build, beside what its flags say: the variable `SOURCE_DATE_EPOCH`
//! (`commands/build.go` and `commands/bake.go` of buildx), and the proxies of docker's `config.json` (`build/opt.go` and
//! `store/storeutil/storeutil.go`). They are build arguments, unless the build has its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use serde::Deserialize;

use super::settings::Environment;
use crate::beneath::is_absent;
use crate::failure::{Explain, Failure, Kind};
use crate::foreign;
use crate::targets::Target;

/// Names a file that buildx sends along, by which BuildKit exchanges or refuses sources.
const POLICY: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The daemon that docker talks to unless told otherwise, by which proxies may be named.
const USUAL_DAEMON: &str = "unix:///var/run/docker.sock";
/// Bytes of the largest `config.json` that is read.
const LIMIT: u64 = 16 * 1024 * 1024;

#[derive(Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    proxies: BTreeMap<String, Proxies>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
}

/// Adds to the targets what buildx would add.
///
/// # Errors
/// Explained: when docker's configuration cannot be read.
pub(super) fn add_to(targets: &mut [Target], environment: &Environment) -> anyhow::Result<()> {
    if environment.filled(POLICY)?.is_some() {
        let what = format!(
            "could not use {POLICY}: a policy may exchange what a build is made from, and none is evaluated here"
        );
        return Err(Failure::new(Kind::Usage, what, format!("unset {POLICY}, for CI's build as well")));
    }
    let epoch = environment.filled(EPOCH)?;
    let proxies = proxies(environment)?;
    for target in targets {
        if let Some(epoch) = &epoch {
            target.build_args.entry(EPOCH.to_owned()).or_insert_with(|| epoch.clone());
        }
        for (name, value) in &proxies {
            if !target.build_args.keys().any(|known| known.eq_ignore_ascii_case(name)) {
                target.build_args.insert((*name).to_owned(), value.clone());
            }
        }
    }
    Ok(())
}

fn proxies(environment: &Environment) -> anyhow::Result<Vec<(&'static str, String)>> {
    let folder = match environment.filled("DOCKER_CONFIG")? {
        Some(folder) => PathBuf::from(folder),
        None => match environment.filled("HOME")? {
            Some(home) => PathBuf::from(home).join(".docker"),
            None => return Ok(Vec::new()),
        },
    };
    let path = folder.join("config.json");
    let text = match File::open(&path) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        file => file.map_err(anyhow::Error::from).and_then(|file| foreign::read(file, LIMIT)),
    };
    // The message of serde_json may quote a value of the file.
    let parsed = text.and_then(|text| {
        serde_json::from_slice(&text).map_err(|error| {
            anyhow::anyhow!("it is not a docker configuration: line {}, column {}", error.line(), error.column())
        })
    });
    let config: DockerConfig = parsed.explain(
        Kind::Environment,
        format!("could not read the proxies in docker's configuration {}", path.display()),
        "repair the file, or point DOCKER_CONFIG at another folder",
    )?;
    let daemon = environment.filled("DOCKER_HOST")?.unwrap_or_else(|| USUAL_DAEMON.to_owned());
    let Some(proxies) = config.proxies.get(&daemon).or_else(|| config.proxies.get("default")) else {
        return Ok(Vec::new());
    };
    let all = [
        ("HTTP_PROXY", &proxies.http_proxy),
        ("HTTPS_PROXY", &proxies.https_proxy),
        ("NO_PROXY", &proxies.no_proxy),
        ("FTP_PROXY", &proxies.ftp_proxy),
    ];
    Ok(all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone())).collect())
}
