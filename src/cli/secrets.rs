//! Reads the secrets of a build, once and before anything is built: what hides them must know them before a step can show them.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::settings::Environment;
use crate::auth::Secret;
use crate::buildkit::{SECRET_LIMIT, SecretValues};
use crate::foreign;
use crate::sensitive::is_secret;
use crate::targets::{SecretOrigin, SecretSource, Target};

/// Variables that are secrets whatever is built.
pub(super) const OURS: [&str; 4] =
    ["CACHEWARM_GIT_TOKEN", "GIT_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// Reads the secrets of targets. One that cannot be had is kept as the error, which a step gets that asks for it.
pub(super) fn of_targets(targets: &[Target], environment: &Environment) -> SecretValues {
    let origins = targets.iter().flat_map(|target| &target.secrets).map(|secret| &secret.from);
    origins.map(|from| (from.clone(), read(from, environment).map_err(|error| format!("{error:#}")))).collect()
}

/// The variables with secrets in them that no program we start needs: those which secrets name, those whose names say so
/// among build arguments, and what we use ourselves.
pub(super) fn withheld<'a>(
    sources: impl IntoIterator<Item = &'a SecretSource>,
    arguments: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<String> {
    let named = sources.into_iter().filter_map(|secret| match &secret.from {
        SecretOrigin::Env(name) => Some(name.as_str()),
        SecretOrigin::File(_) => None,
    });
    let arguments = arguments.into_iter().filter(|name| is_secret(name));
    named.chain(arguments).chain(OURS).map(str::to_owned).collect()
}

/// Reads one secret. A variable that is not set is none.
///
/// # Errors
/// When its file cannot be read, and when it is larger than BuildKit takes.
pub(super) fn read(from: &SecretOrigin, environment: &Environment) -> anyhow::Result<Option<Secret<Vec<u8>>>> {
    let bytes = match from {
        SecretOrigin::Env(name) => environment.bytes(name),
        SecretOrigin::File(path) => Some(of_file(path).with_context(|| format!("could not read {}", path.display()))?),
    };
    let size = bytes.as_ref().map_or(0, Vec::len) as u64;
    ensure!(size <= SECRET_LIMIT, "it is larger than {SECRET_LIMIT} bytes");
    Ok(bytes.map(Secret::from_bytes))
}

/// Reads a file, one byte beyond the limit at most. It may be a pipe of the shell, which can be read only once.
fn of_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        bail!("it is a directory");
    }
    foreign::read(file, SECRET_LIMIT)
}

/// Makes the paths of a target's secrets absolute. A relative one leads from the first of `folders` that has the file, and
/// from the first one where none has it.
///
/// # Errors
/// When two of the folders have different files of that name, so that nobody knows which is meant.
pub(super) fn locate(target: &mut Target, folders: &[&Path]) -> anyhow::Result<()> {
    for secret in &mut target.secrets {
        let SecretOrigin::File(path) = &mut secret.from else { continue };
        let candidates: Vec<_> = folders.iter().map(|folder| folder.join(&*path)).collect();
        let mut there: Vec<_> = candidates.iter().filter_map(|path| Some((path, path.canonicalize().ok()?))).collect();
        there.dedup_by(|(_, a), (_, b)| a == b);
        if let [(first, _), (other, _), ..] = there.as_slice() {
            bail!("secret `{}` may be {} or {}", secret.id, first.display(), other.display());
        }
        let found = there.first().map(|(path, _)| *path).or(candidates.first());
        if let Some(found) = found.cloned() {
            *path = found;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Context;

    #[test]
    fn a_secret_is_read_as_bytes_or_the_reason_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("keystore"), b"\xfe\xed\0\n").expect("written");
        std::fs::write(path("large"), vec![b'x'; 500 * 1024 + 1]).expect("written");
        let environment = Environment::holding(&[("SET", "value")]);
        let mut target = Target::new("it", Context::Local(".".into()));
        let from = ["keystore", "large", "gone"].map(|name| SecretOrigin::File(path(name)));
        let from = from.into_iter().chain(["SET", "UNSET"].map(|name| SecretOrigin::Env(name.to_owned())));
        target.secrets = from.map(|from| SecretSource { id: "it".to_owned(), from }).collect();
        target.secrets.push(SecretSource { id: "it".to_owned(), from: SecretOrigin::File(folder.path().to_owned()) });
        let read = of_targets(&[target.clone()], &environment);
        let told = |place: usize| match &read[&target.secrets[place].from] {
            Ok(None) => "none".to_owned(),
            Ok(Some(secret)) => String::from_utf8_lossy(secret.reveal_bytes()).escape_debug().to_string(),
            Err(error) => error.replace(&folder.path().display().to_string(), ""),
        };
        assert_eq!(
            (0..6).map(told).collect::<Vec<_>>(),
            [
                "\u{fffd}\u{fffd}\\0\\n",
                "could not read /large: it is larger than 512000 bytes",
                "could not read /gone: No such file or directory (os error 2)",
                "value",
                "none",
                "could not read : it is a directory",
            ]
        );
    }

    #[test]
    fn a_relative_path_leads_from_the_folder_that_has_the_file() {
        let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::fs::write(second.path().join("there"), "x").expect("written");
        let located = |name: &str| {
            let mut target = Target::new("it", Context::Local(".".into()));
            target.secrets = vec![SecretSource { id: "t".to_owned(), from: SecretOrigin::File(name.into()) }];
            locate(&mut target, &[first.path(), second.path()]).map(|()| target.secrets.remove(0).from)
        };
        assert_eq!(located("there").expect("found"), SecretOrigin::File(second.path().join("there")));
        assert_eq!(located("gone").expect("named"), SecretOrigin::File(first.path().join("gone")));
        assert_eq!(located("/etc/x").expect("absolute"), SecretOrigin::File("/etc/x".into()));
        std::fs::write(first.path().join("there"), "y").expect("written");
        assert!(located("there").is_err());
        std::fs::remove_file(first.path().join("there")).expect("removed");
        std::os::unix::fs::symlink(second.path().join("there"), first.path().join("there")).expect("linked");
        assert_eq!(located("there").expect("one file"), SecretOrigin::File(first.path().join("there")));
    }
}
