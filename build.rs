//! Tells the program which commit it was built from and what for.

use std::path::Path;
use std::process::Command;

/// Changes with every commit that is checked out; absent where the sources are no clone.
const LOG: &str = ".git/logs/HEAD";

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script by its environment")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if Path::new(LOG).exists() {
        println!("cargo::rerun-if-changed={LOG}");
    }
    // The commit's date and not the day's: a binary is the same whenever it is built.
    let arguments = ["log", "-1", "--format=%h %cs"];
    let output = Path::new(".git").exists().then(|| Command::new("git").args(arguments).output());
    let commit = output
        .and_then(Result::ok)
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "no commit".to_owned(), |text| text.trim().to_owned());
    println!("cargo::rustc-env=CACHEWARM_BUILD={commit} {}", std::env::var("TARGET").unwrap_or_default());
}
