//! The trust in a `cachewarm.toml` that nobody named: whoever wrote the checkout may have written the file.
//!
//! **Invariant:** such a file is read only when the caller alone can write it, and it never names a program, a file to
//! write, a host file outside of its directory, a builder or an identity. A file that `--config` or `CACHEWARM_CONFIG`
//! names is the caller's own word and may hold every key.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::cli::setting::Leave;
use crate::cli::table;
use crate::failure::{Explain, Failure, Kind};
use crate::foreign;
use crate::targets::{DonorKind, flags};

/// Bytes of the largest settings file that is read without being named.
const LIMIT: u64 = 1 << 20;
/// The permission bits that let somebody else than the owner write.
const WRITE_BY_OTHERS: u32 = 0o022;

/// Reads the settings file of the current directory; none when there is no such file.
///
/// # Errors
/// A usage error when somebody else than the caller may have written it.
pub(super) fn read(name: &Path) -> anyhow::Result<Option<String>> {
    let what = format!("could not trust the settings file ./{}", name.display());
    let hint = format!(
        "name it with `--config ./{0}` to take it as it is, or let it and its directory belong to the caller alone \
         (chown, chmod go-w)",
        name.display()
    );
    read_own(name).explain(Kind::Usage, what, hint)
}

fn read_own(name: &Path) -> anyhow::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let directory = rustix::fs::openat(CWD, ".", flags | OFlags::DIRECTORY, Mode::empty());
    let directory = File::from(directory.context("could not open its directory")?);
    let file = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => bail!("it is a symbolic link"),
        Err(error) => return Err(error).context("could not open it"),
    };
    ensure!(file.metadata()?.is_file(), "it is not a regular file");
    belongs_to_the_caller(&file, "it")?;
    belongs_to_the_caller(&directory, "its directory")?;
    Ok(Some(String::from_utf8(foreign::read(file, LIMIT)?).context("could not read it")?))
}

/// The sticky bit of a directory does not help: in such a directory everybody can make the file.
fn belongs_to_the_caller(file: &File, what: &str) -> anyhow::Result<()> {
    let (metadata, caller) = (file.metadata()?, rustix::process::geteuid().as_raw());
    let owner = metadata.uid();
    ensure!(owner == caller, "{what} belongs to the user {owner}, and the caller is the user {caller}");
    let mode = Permissions::mode(&metadata.permissions()) & 0o7777;
    ensure!(mode & WRITE_BY_OTHERS == 0, "{what} belongs to the user {owner}, and others can write it (mode {mode:o})");
    Ok(())
}

/// Checks what a file that nobody named says under a key.
///
/// # Errors
/// A usage error that names the key and the file.
pub(super) fn allows(key: &str, values: &[String], file: &Path) -> anyhow::Result<()> {
    let leave = table::find("", key).map_or(Leave::Nothing, |setting| setting.checkout);
    let refused = |value: &&String| match leave {
        Leave::Json => values.len() > 1 || !value.ends_with(".json") || !stays_inside(value),
        Leave::Any => false,
        Leave::Inside => flags::is_remote(value) || !stays_inside(value),
        Leave::WithValue => !value.contains('='),
        Leave::Only(allowed) => !allowed.contains(&value.as_str()),
        Leave::InRegistry => {
            flags::cache_from(value).is_ok_and(|caches| caches.iter().any(|cache| cache.kind != DonorKind::Registry))
        }
        Leave::WithoutFile => value.contains('='),
        Leave::Nothing => true,
    };
    let problem = match (leave, values.iter().find(refused)) {
        (Leave::Nothing, _) => "a checkout may not say that".to_owned(),
        (_, None) => return Ok(()),
        (Leave::Json, Some(_)) => "it is no JSON file in the directory of the file".to_owned(),
        (Leave::Inside, Some(value)) => format!("`{value}` leads out of the directory of the file"),
        (Leave::WithValue, Some(value)) => format!("`{value}` takes its value from the caller's environment"),
        (Leave::Only(allowed), Some(value)) => {
            format!("`{value}` is not {}, and a checkout may say nothing else", allowed.join(" or "))
        }
        (Leave::InRegistry, Some(value)) => format!("`{value}` is a directory of this machine"),
        (_, Some(value)) => format!("`{value}` writes a file"),
    };
    Err(Failure::new(
        Kind::Usage,
        format!("could not use `{key}` in ./{}: {problem}", file.display()),
        format!(
            "give it by --{key} or its variable, or name the file with `--config ./{}` to take all of it",
            file.display()
        ),
    ))
}

/// A path that is not there yet stays inside when its words do; whoever opens it says that it is missing.
fn stays_inside(path: &str) -> bool {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    plain
        && match (path.canonicalize(), Path::new(".").canonicalize()) {
            (Ok(path), Ok(directory)) => path.starts_with(directory),
            (Err(error), _) => error.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_names_no_program_no_file_to_write_and_no_path_outside() {
        let says = |key: &str, value: &str| allows(key, &[value.to_owned()], Path::new("cachewarm.toml")).is_ok();
        for (key, value) in [
            ("report", "json"),
            ("build-arg", "A=B"),
            ("context", "src"),
            ("target", "test"),
            ("cache-from", "h/r:t"),
            ("network", "none"),
            ("prove", "disk"),
            ("on-miss", "fail"),
        ] {
            assert!(says(key, value), "{key} = {value}");
        }
        for (key, value) in [
            ("builder", "spawn"),
            ("report", "text=/etc/motd"),
            ("bake", "docker-bake.hcl"),
            ("bake", "../bake.json"),
            ("build-arg", "AWS_SECRET_ACCESS_KEY"),
            ("context", "src/../.."),
            ("context", "https://elsewhere.example/r.git"),
            ("file", "/etc/shadow"),
            ("cache-from", "type=local,src=/srv/cache"),
            ("network", "host"),
            ("min-hit-rate", "0"),
            ("require", "extracted=0%"),
            ("prove", "false"),
            ("on-miss", "run"),
            ("not-yet-known", "x"),
        ] {
            assert!(!says(key, value), "{key} = {value}");
        }
    }
}
