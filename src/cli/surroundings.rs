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

/// What becomes of a variable that buildx reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It is read here as well: where.
    Read,
    /// It is read by the `docker buildx bake` that resolves a definition, which has our environment.
    Bake,
    /// It is a build argument in BuildKit's eyes, and counts as one that is given.
    Argument,
    /// It changes no step.
    Harmless,
    /// The run is refused where it is set.
    Refused,
    /// The run is refused where it is set to something that is true.
    RefusedIfTrue,
}

use Effect::{Argument, Bake, Harmless, Read, Refused, RefusedIfTrue};

/// Every variable that buildx v0.38 has in its source, and what becomes of it here. `tests/behavior/surroundings.rs` holds the
/// list against that source.
#[rustfmt::skip]
const VARIABLES: [(&str, Effect); 37] = [
    ("SOURCE_DATE_EPOCH", Read), ("DOCKER_DEFAULT_PLATFORM", Read), ("BUILDKIT_HOST", Read),
    ("BUILDX_BAKE_GIT_AUTH_TOKEN", Read),
    ("BUILDKIT_INLINE_BUILDINFO_ATTRS", Argument), ("BUILDKIT_INLINE_CACHE", Argument),
    ("BUILDKIT_MULTI_PLATFORM", Argument), ("BUILDKIT_SYNTAX", Argument),
    ("BAKE_CMD_CONTEXT", Bake), ("BAKE_LOCAL_PLATFORM", Bake), ("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", Bake),
    ("BUILDX_BAKE_FILE", Bake), ("BUILDX_BAKE_FILE_RELATIVE_PATHS", Bake), ("BUILDX_BAKE_GIT_ADVICE", Bake),
    ("BUILDX_BAKE_GIT_AUTH_HEADER", Bake), ("BUILDX_BAKE_GIT_SSH", Bake), ("BUILDX_BAKE_PATH_SEPARATOR", Bake),
    // What a bake file may use is for our own --allow to say.
    ("BAKE_ALLOW_REMOTE_FS_ACCESS", Harmless), ("BUILDX_BAKE_ENTITLEMENTS_FS", Harmless),
    // Which builder, and where buildx remembers its builders.
    ("BUILDX_BUILDER", Harmless), ("BUILDX_CONFIG", Harmless),
    // What is shown, exported, labelled and attested.
    ("BUILDKIT_PROGRESS", Harmless), ("BUILDX_GIT_CHECK_DIRTY", Harmless), ("BUILDX_GIT_INFO", Harmless),
    ("BUILDX_GIT_LABELS", Harmless), ("BUILDX_METADATA_PROVENANCE", Harmless), ("BUILDX_METADATA_WARNINGS", Harmless),
    ("BUILDX_NO_DEFAULT_ATTESTATIONS", Harmless), ("BUILDX_NO_DEFAULT_LOAD", Harmless),
    ("BUILDX_NO_DEFAULT_OCI_ARTIFACT", Harmless),
    // For those who work on buildx.
    ("BUILDX_CPU_PROFILE", Harmless), ("BUILDX_DAP_USER_AGENT", Harmless), ("BUILDX_EXPERIMENTAL", Harmless),
    ("BUILDX_MEM_PROFILE", Harmless),
    // By these BuildKit exchanges or refuses sources, or is sent a git source in another form.
    ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", Refused), ("BUILDX_DEFAULT_POLICY", RefusedIfTrue),
    ("BUILDX_SEND_GIT_QUERY_AS_INPUT", RefusedIfTrue),
];

/// Adds to the targets what buildx would add.
///
/// # Errors
/// Explained: when docker's configuration cannot be read.
pub(super) fn add_to(targets: &mut [Target], environment: &Environment) -> anyhow::Result<()> {
    for (name, effect) in VARIABLES {
        let value = environment.filled(name)?;
        let is_true = value.as_deref().is_some_and(|value| ["1", "t", "true"].contains(&&*value.to_ascii_lowercase()));
        if is_true && effect == RefusedIfTrue || value.is_some() && effect == Refused {
            let what = format!("could not use {name}: it changes what a build is made from, and is not known here");
            return Err(Failure::new(Kind::Usage, what, format!("unset {name}, for CI's build as well")));
        }
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
