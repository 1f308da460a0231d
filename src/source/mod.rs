//! The exact commit, on disk.
//!
//! [`obtain`] clones a repository (`git`), takes a directory as it is (`local`), or leaves a URL to the builder (`remote`);
//! the [`Checkout`] it gives resolves the paths of targets, and its [`Modes`] say what BuildKit should see of a file's mode.
//! [`advice()`] looks for what will never hit, and [`fill_pointers`] for what git only has pointers of.

mod advice;
mod checkout;
mod git;
mod local;
mod modes;
mod policy;
mod remote;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use self::checkout::Origin;
use self::git::Watch;
use crate::auth::Secret;
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};
use crate::scratch::Scratch;

pub(crate) use self::advice::advice;
pub(crate) use self::checkout::Checkout;
pub(crate) use self::git::{Changes, POINTER_SIZES};
pub(crate) use self::modes::{ModeRule, Modes};
pub(crate) use self::policy::{has_policy, without_policies};

/// A clone in which nothing arrived for this long is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the source comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SourceSpec {
    /// `--repo URL [--rev REV] [--submodules]`: cloned by us.
    Repository {
        /// The URL as given; may hold userinfo, so it is never printed as it is.
        url: String,
        /// Branch, tag, full or short SHA; the remote's HEAD when absent.
        rev: Option<String>,
        /// Whether submodules are checked out, recursively.
        submodules: bool,
        /// `CACHEWARM_GIT_TOKEN`: tried before credential helpers on https.
        token: Option<Secret>,
    },
    /// `--context DIR`, or the current directory: used where it is, never written to.
    Directory(PathBuf),
    /// A URL as context, which the builder fetches itself: git's or an archive's.
    Remote(String),
}

/// Brings the source to disk. Dropping the future stops a clone at its next opportunity. Without a rule for modes those of a
/// repository are as git records them, and those of a directory as they are.
///
/// # Errors
/// Explained: see `git` and `local`.
pub(crate) async fn obtain(spec: &SourceSpec, modes: Option<ModeRule>, events: &Events) -> anyhow::Result<Checkout> {
    match spec {
        SourceSpec::Repository { url, rev, submodules, token } => {
            let clone = CloneJob {
                url: url.clone(),
                rev: rev.clone(),
                submodules: *submodules,
                token: token.clone(),
                modes: modes.unwrap_or(ModeRule::GIT),
                patience: PATIENCE,
            };
            clone.run(events).await
        }
        SourceSpec::Directory(path) => {
            let (path, events) = (path.clone(), events.clone());
            tokio::task::spawn_blocking(move || local::directory(&path, modes, &events)).await?
        }
        SourceSpec::Remote(url) => match modes {
            None => remote::fetched_by_the_builder(url),
            Some(_) => Err(Failure::new(
                Kind::Usage,
                "could not use --modes: the builder fetches the context itself, and gives its files modes of its own",
                "leave it out, or clone the repository with --repo",
            )),
        },
    }
}

struct CloneJob {
    url: String,
    rev: Option<String>,
    submodules: bool,
    token: Option<Secret>,
    modes: ModeRule,
    patience: Duration,
}

/// Stops a clone whose caller went away.
struct StopOnDrop(Arc<Watch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl CloneJob {
    async fn run(self, events: &Events) -> anyhow::Result<Checkout> {
        let CloneJob { url, rev, submodules, token, modes, patience } = self;
        let location = git::shown(&url);
        let what = "could not make a temporary directory for the clone";
        let hint = "set TMPDIR to a directory with room for it";
        let directory = Scratch::new("cachewarm-clone-").explain(Kind::Environment, what, hint)?;
        let root = directory.path().to_owned();
        events.note(format!("cloning {location} at {}", rev.as_deref().unwrap_or("HEAD")));

        let watch = Arc::new(Watch::default());
        let stop = StopOnDrop(Arc::clone(&watch));
        let (seen_by_task, path, wanted) = (Arc::clone(&watch), root.clone(), rev.clone());
        // The directory goes with the task: one that is given up may write to it until it notices.
        let task = tokio::task::spawn_blocking(move || {
            let cloned = git::clone(&url, wanted.as_deref(), submodules, token.as_ref(), &path, &seen_by_task);
            cloned.map(|cloned| (cloned, directory))
        });
        let (cloned, directory) = while_it_moves(task, &watch, patience, &location).await?;
        drop(stop);
        let history = if cloned.shallow { "without its history" } else { "with its history" };
        events.note(format!("checked out {} {history}", cloned.commit));

        let mut checkout = Checkout::new(root.clone(), Origin::Repository, location, rev);
        checkout.commit = Some(cloned.commit);
        checkout.changes = Some(Changes::default());
        checkout.modes = Modes::recorded(root, cloned.recorded, modes);
        checkout.origins = Some(Arc::new(cloned.origins));
        checkout.clone = Some(directory);
        Ok(checkout)
    }
}

/// The end of a task, as long as it moves.
async fn while_it_moves<T>(
    mut task: JoinHandle<anyhow::Result<T>>,
    watch: &Watch,
    patience: Duration,
    location: &str,
) -> anyhow::Result<T> {
    loop {
        let moves = watch.moves();
        match tokio::time::timeout(patience, &mut task).await {
            Ok(finished) => return finished?,
            Err(_) if watch.moves() != moves => {}
            Err(_) => {
                let what = format!("{location} sent nothing for {} seconds", patience.as_secs());
                let hint = "check the address and the network, and try again";
                return Err(Failure::new(Kind::Environment, what, hint));
            }
        }
    }
}

/// Looks for pointers of Git LFS among files that a build is sent. Those of a clone of ours are made what they stand for; a
/// directory is as it is, with a warning. Whether files were written.
///
/// # Errors
/// Explained: files that cannot be had.
pub(crate) async fn fill_pointers(checkout: &Checkout, files: Vec<PathBuf>, events: &Events) -> anyhow::Result<bool> {
    let pointers = tokio::task::spawn_blocking(move || git::pointers(files)).await?;
    if pointers.is_empty() {
        return Ok(false);
    }
    let files = git::named(&pointers, &checkout.root);
    let Some(origins) = &checkout.origins else {
        events.warn(format!(
            "the build takes in pointers of Git LFS, as docker would from this directory: {files}; `git lfs pull` gets what \
             they stand for"
        ));
        return Ok(false);
    };
    events.note(format!("getting {files} from Git LFS"));
    let watch = Arc::new(Watch::default());
    let stop = StopOnDrop(Arc::clone(&watch));
    let (origins, seen_by_task) = (Arc::clone(origins), Arc::clone(&watch));
    let task = tokio::task::spawn_blocking(move || origins.fill(&pointers, &seen_by_task));
    let done = while_it_moves(task, &watch, PATIENCE, &format!("Git LFS of {}", checkout.location)).await;
    drop(stop);
    done.map(|()| true)
}

#[cfg(test)]
mod tests;
