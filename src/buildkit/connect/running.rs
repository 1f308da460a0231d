//! The registries of the daemon that uses a state root, as its own configuration has them: whoever names no configuration means
//! that the builder resolves names as it does.
//!
//! Only `[registry]` is taken of it, and only of a daemon of root's or of our own: a configuration names programs too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::config;
use crate::locks::{self, Lock};

/// The text of the configuration of the daemon that holds the root, if there is one that can be read.
pub(super) fn configuration(root: &Path) -> Option<String> {
    let Ok(Lock::Held(Some(process))) = locks::held_by(&root.join("buildkitd.lock")) else { return None };
    let place = PathBuf::from(format!("/proc/{process}"));
    let owner = fs::metadata(&place).ok()?.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return None;
    }
    let line = fs::read(place.join("cmdline")).ok()?;
    let line: Vec<String> =
        line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    // As it sees its files: it may run in a container.
    let file = match named(&line) {
        Some(file) => match Path::new(file).strip_prefix("/") {
            Ok(absolute) => place.join("root").join(absolute),
            Err(_) => place.join("cwd").join(file),
        },
        None => place.join("root").join(config::USUAL.trim_start_matches('/')),
    };
    fs::read_to_string(file).ok()
}

/// What `--config` says on a command line.
fn named(line: &[String]) -> Option<&str> {
    let mut arguments = line.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let flag = argument.trim_start_matches('-');
        if flag == "config" && flag.len() < argument.len() {
            return arguments.next().map(String::as_str);
        }
        if let Some(file) = flag.strip_prefix("config=") {
            return Some(file);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_the_one_that_the_command_line_names() {
        let of = |line: &str| {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            named(&line).map(str::to_owned)
        };
        assert_eq!(of("buildkitd --debug --config=/a.toml --root /r").as_deref(), Some("/a.toml"));
        assert_eq!(of("buildkitd -config b.toml").as_deref(), Some("b.toml"));
        assert_eq!(of("buildkitd --root /config --config").as_deref(), None);
        assert_eq!(of("buildkitd config x").as_deref(), None);
    }

    #[test]
    fn a_root_that_nobody_holds_tells_of_nobody() {
        assert_eq!(configuration(tempfile::tempdir().unwrap().path()), None);
    }
}
