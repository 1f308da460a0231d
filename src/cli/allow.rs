//! The leave that a bake file needs for what lies outside of its project, in the spellings of buildx's `--allow`:
//! `network.host`, `security.insecure`, `device`, `ssh`, `fs.read=PATH` and `fs=PATH` (`*` is every path).
//!
//! A bake file comes from a checkout, and so from a stranger. Flags are the caller's own word and need no leave.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::source::SourceSpec;
use crate::targets::{Context, Dockerfile, DonorKind, NamedContext, SecretOrigin, Target, entitlements};

/// Whether BuildKit itself has to be told of what `--allow` grants; the rest is between the caller and us.
pub(super) fn is_entitlement(allowed: &str) -> bool {
    let key = key(allowed);
    !["fs", "fs.read", "fs.write", "ssh", "image"].contains(&key) && !key.starts_with("buildx.")
}

/// Refuses targets of a bake file that ask for more than `allowed`, the values of `--allow`. Paths of secrets and
/// sockets are absolute.
///
/// # Errors
/// A usage error that names the flags which grant it.
pub(super) fn ensure(targets: &[Target], source: &SourceSpec, allowed: &[String]) -> anyhow::Result<()> {
    let mut missing = BTreeSet::new();
    for target in targets {
        let granted = |needed: &str| allowed.iter().any(|allowed| allowed == needed || allowed == key(needed));
        missing.extend(entitlements(target).into_iter().filter(|needed| !granted(needed)));
        if !target.ssh.is_empty() && !granted("ssh") {
            missing.insert("ssh".to_owned());
        }
        for path in paths(target, source) {
            let path = real(&path);
            if !is_of_the_project(&path, source) && !may_read(&path, allowed) {
                missing.insert(format!("fs.read={}", path.display()));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let flags = missing.iter().map(|needed| format!("--allow={needed}")).collect::<Vec<_>>().join(" ");
    Err(Failure::new(
        Kind::Usage,
        format!("the bake file asks for what nobody allowed: {}", missing.into_iter().collect::<Vec<_>>().join(", ")),
        format!("pass {flags} to grant it, if you trust who wrote the file"),
    ))
}

fn key(allowed: &str) -> &str {
    allowed.split_once('=').map_or(allowed, |(key, _)| key)
}

/// The paths of this machine that a target reads. Contexts and Dockerfiles of a clone are none: `source` holds them
/// inside of it.
fn paths(target: &Target, source: &SourceSpec) -> Vec<PathBuf> {
    let secrets = target.secrets.iter().filter_map(|secret| match &secret.from {
        SecretOrigin::File(path) => Some(path.clone()),
        SecretOrigin::Env(_) => None,
    });
    let caches = target.donors.iter().filter(|donor| donor.kind == DonorKind::Local);
    let caches = caches.map(|donor| PathBuf::from(&donor.reference));
    let agents = target.ssh.iter().flat_map(|agent| agent.paths.clone());
    let mut paths: Vec<PathBuf> = secrets.chain(caches).chain(agents).collect();
    let SourceSpec::Directory(directory) = source else { return paths };
    let context = match &target.context {
        Context::Local(path) => directory.join(path),
        Context::Remote(_) => directory.clone(),
    };
    match &target.dockerfile {
        Dockerfile::InContext(path) => paths.push(context.join(path)),
        Dockerfile::Path(Some(path)) => paths.push(directory.join(path)),
        Dockerfile::Path(None) | Dockerfile::Inline(_) => {}
    }
    paths.push(context);
    paths.extend(target.named_contexts.values().filter_map(|context| match context {
        NamedContext::Local(path) => Some(directory.join(path)),
        _ => None,
    }));
    paths
}

/// A clone is temporary, so that nothing on this machine is of its project.
fn is_of_the_project(path: &Path, source: &SourceSpec) -> bool {
    match source {
        SourceSpec::Repository { .. } | SourceSpec::Remote(_) => false,
        SourceSpec::Directory(directory) => path.starts_with(real(directory)) || path.starts_with(real(Path::new("."))),
    }
}

fn may_read(path: &Path, allowed: &[String]) -> bool {
    let values = allowed.iter().filter_map(|allowed| allowed.split_once('='));
    let mut granted = values.filter(|(key, _)| ["fs", "fs.read"].contains(key)).map(|(_, value)| value);
    granted.any(|value| value == "*" || path.starts_with(real(Path::new(value))))
}

/// A path without links, as far as it exists. A `..` in what does not exist leads to the root, which is in no project.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return match rest.components().next() {
                None => real,
                _ if rest.components().any(|part| part == std::path::Component::ParentDir) => PathBuf::from("/"),
                _ => real.join(rest),
            };
        }
    }
    path
}
