//! Git repositories as tests need them.

use std::path::Path;
use std::process::Command;

use super::ground::support;

/// Makes the sample's repository in a new folder and gives its commit.
pub(crate) fn sample(folder: &Path) -> String {
    let made = Command::new(support("sample.sh")).arg(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// Runs git in a folder, as nobody in particular, and gives what it prints.
pub(crate) fn git<const N: usize>(folder: &Path, arguments: [&str; N]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=sample", "-c", "user.email=sample@example.com", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(folder)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
