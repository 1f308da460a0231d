//! The daemon that will use the root: the one that was named, else the one that is there.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Job;
use crate::buildkit;
use crate::era::{Era, NEWEST_KNOWN, Version};
use crate::failure::{Explain, Kind};
use crate::manifest::Manifest;

/// What `--used-by` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UsedBy {
    /// A release.
    Version(Version),
    /// A buildkitd, which says its version itself.
    Program(PathBuf),
}

impl FromStr for UsedBy {
    type Err = String;

    fn from_str(text: &str) -> Result<UsedBy, String> {
        match text.parse() {
            Ok(version) => Ok(UsedBy::Version(version)),
            Err(()) if text.starts_with('/') => Ok(UsedBy::Program(text.into())),
            Err(()) => Err(format!("`{text}` is no version, such as {NEWEST_KNOWN}, and no path from / on")),
        }
    }
}

/// The daemon that will use the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// What it says of its version; empty when there is none to be found.
    pub(super) version: String,
    /// Where it was found.
    pub(super) found: String,
    /// Whether it was named, and not only found.
    pub(super) is_named: bool,
}

impl User {
    /// Finds it.
    ///
    /// # Errors
    /// Explained: a buildkitd that was named and does not say its version.
    pub(super) async fn find(job: &Job, promise: Option<&Manifest>) -> anyhow::Result<User> {
        match &job.used_by {
            Some(UsedBy::Version(version)) => Ok(User::named(version.to_string(), "--used-by".to_owned())),
            Some(UsedBy::Program(program)) => {
                let version = buildkit::program_version(program).await.explain(
                    Kind::Environment,
                    format!("could not ask {} for its version", program.display()),
                    "name a buildkitd that runs here, or its version: --used-by v0.34.2",
                )?;
                Ok(User::named(version, program.display().to_string()))
            }
            None => Ok(User::assumed(promise).await),
        }
    }

    fn named(version: String, found: String) -> User {
        User { version, found, is_named: true }
    }

    async fn assumed(promise: Option<&Manifest>) -> User {
        let user = |version: String, found: &str| User { version, found: found.to_owned(), is_named: false };
        if let Ok(version) = buildkit::program_version(Path::new("buildkitd")).await {
            return user(version, "buildkitd in PATH");
        }
        if let Some((socket, version)) = buildkit::usual_daemon().await {
            return user(version, socket);
        }
        match promise.map(|promise| &promise.buildkit_version).filter(|version| !version.is_empty()) {
            Some(version) => user(version.clone(), "the manifest"),
            None => user(String::new(), "nowhere"),
        }
    }

    /// What it does.
    pub(super) fn era(&self) -> Era {
        Era::of(&self.version)
    }

    /// As a sentence names it.
    pub(super) fn name(&self) -> String {
        match self.version.as_str() {
            "" => format!("BuildKit {NEWEST_KNOWN} or another newer one"),
            version => format!("BuildKit {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_version_or_a_program() {
        assert_eq!("v0.33.1".parse(), Ok(UsedBy::Version("0.33.1".parse().unwrap())));
        assert_eq!("/usr/bin/buildkitd".parse(), Ok(UsedBy::Program("/usr/bin/buildkitd".into())));
        for wrong in ["", "buildkitd", "./buildkitd", "latest", "v0"] {
            assert!(wrong.parse::<UsedBy>().is_err(), "{wrong}");
        }
    }
}
