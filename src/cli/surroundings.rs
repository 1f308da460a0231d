//! What buildx takes from its surroundings into every build, beside what its flags say: the variable `SOURCE_DATE_EPOCH`
//! (`commands/build.go` and `commands/bake.go` of buildx), and the proxies of docker's `config.json` (`build/opt.go` and
//! `store/storeutil/storeutil.go`). They are build arguments, unless the build has its own.

use super::settings::{self, Sources};
use crate::auth::DockerConfig;
use crate::failure::{Failure, Kind};
use crate::targets::Target;

const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The proxies of every daemon that has none of its own, and the context that stands for none.
const DEFAULT: &str = "default";

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
    /// The run is refused where it is set to something that is true.
    RefusedIfTrue,
}

use Effect::{Argument, Bake, Harmless, Read, RefusedIfTrue};

/// Every variable that buildx v0.38 has in its source, and what becomes of it here. `tests/behavior/surroundings.rs` holds the
/// list against that source.
#[rustfmt::skip]
const VARIABLES: [(&str, Effect); 37] = [
    ("SOURCE_DATE_EPOCH", Read), ("DOCKER_DEFAULT_PLATFORM", Read), ("BUILDKIT_HOST", Read),
    ("BUILDX_BAKE_GIT_AUTH_TOKEN", Read), ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", Read),
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
    // By these buildx refuses sources, or sends a git source in another form.
    ("BUILDX_DEFAULT_POLICY", RefusedIfTrue), ("BUILDX_SEND_GIT_QUERY_AS_INPUT", RefusedIfTrue),
];

/// Adds to the targets what buildx would add.
///
/// # Errors
/// Explained: when docker's configuration cannot be read, and when it has proxies of one daemon and nobody knows which is meant.
pub(super) fn add_to(targets: &mut [Target], from: &Sources<'_>) -> anyhow::Result<()> {
    let environment = from.environment;
    for (name, effect) in VARIABLES {
        let value = environment.filled(name)?;
        let is_true = value.as_deref().is_some_and(|value| ["1", "t", "true"].contains(&&*value.to_ascii_lowercase()));
        if is_true && effect == RefusedIfTrue {
            let what = format!("could not use {name}: it changes what a build is made from, and is not known here");
            return Err(Failure::new(Kind::Usage, what, format!("unset {name}, for CI's build as well")));
        }
    }
    let epoch = environment.filled(EPOCH)?;
    let proxies = proxies(from)?;
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

fn proxies(from: &Sources<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
    let Some(folder) = from.environment.docker_config() else { return Ok(Vec::new()) };
    let mut proxies = DockerConfig::read(&folder)?.proxies.unwrap_or_default();
    // Where all daemons have the same, it does not matter which is meant.
    let of_one = proxies.keys().any(|daemon| daemon != DEFAULT);
    let own = if of_one { proxies.remove(&daemon(from)?) } else { None };
    let Some(proxies) = own.or_else(|| proxies.remove(DEFAULT)) else { return Ok(Vec::new()) };
    let all = [
        ("HTTP_PROXY", proxies.http_proxy),
        ("HTTPS_PROXY", proxies.https_proxy),
        ("NO_PROXY", proxies.no_proxy),
        ("FTP_PROXY", proxies.ftp_proxy),
    ];
    let named = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Ok(named.filter(|(_, value)| !value.is_empty()).collect())
}

/// What docker's client calls the daemon that it talks to (`cli/command/cli.go` of docker/cli): that of the line's flags, of the
/// environment, or of docker's configuration. A context of the line wins, and the default one is the variable's daemon.
fn daemon(from: &Sources<'_>) -> anyhow::Result<String> {
    let mut docker = settings::docker(from.environment)?;
    let said = |name: &str| from.line().and_then(|line| line.of_docker(name));
    match (said("context"), said("host")) {
        (Some(context), _) => {
            docker.host = docker.host.filter(|_| context == DEFAULT);
            docker.context = Some(context);
        }
        (None, Some(host)) => docker.host = Some(host),
        (None, None) => {}
    }
    docker.name()
}
