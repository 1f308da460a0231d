//! A directory as source: used where it is and as it is, and never written to.

use std::path::Path;

use super::checkout::{Checkout, Origin};
use super::git;
use super::modes::{ModeRule, Modes};
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};

/// Takes a directory as it is, as docker's client would. Only a rule that was asked for gives what git tracks other modes.
///
/// # Errors
/// Explained, when it is not a directory, or has nothing that the rule is about. Trouble with its commit is only a warning.
pub(super) fn directory(path: &Path, modes: Option<ModeRule>, events: &Events) -> anyhow::Result<Checkout> {
    let what = || format!("could not use the context {}", path.display());
    let hint = "name an existing directory with --context, or a repository with --repo";
    let root = std::fs::canonicalize(path).explain(Kind::Usage, what(), hint)?;
    if !root.is_dir() {
        return Err(Failure::new(Kind::Usage, format!("{}: it is not a directory", what()), hint));
    }
    let mut checkout = Checkout::new(root.clone(), Origin::Directory, root.display().to_string(), None);
    if let Some(located) = git::locate(&root) {
        match located.head {
            Ok(None) => checkout.no_commit = "its branch has none yet".to_owned(),
            Ok(commit) => checkout.commit = commit,
            Err(error) => {
                checkout.no_commit = format!("it could not be read: {error:#}");
                events.warn(format!("could not read which commit {} is at: {error:#}", located.root.display()));
            }
        }
        checkout.changes = git::changes(&root);
    }
    if let Some(rule @ ModeRule::Umask(_)) = modes {
        let what = || format!("could not give the files of {} the modes of {rule}", root.display());
        let hint = "leave --modes out to take the modes as they are on disk, or clone the repository with --repo";
        let tracked = git::tracked(&root).explain(Kind::Environment, what(), hint)?;
        let (tree, recorded) =
            tracked.ok_or_else(|| Failure::new(Kind::Usage, format!("{}: git tracks none of them", what()), hint))?;
        checkout.modes = Modes::recorded(tree, recorded, rule);
    }
    Ok(checkout)
}
