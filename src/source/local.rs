//! A directory as source: used where it is, and never written to.

use std::path::Path;

use super::checkout::{Checkout, Origin};
use super::git;
use super::modes::Modes;
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};

/// Takes a directory as it is; what git tracks in it gets the modes git records.
///
/// # Errors
/// Explained, when it is not a directory. Trouble with git is only a warning: then modes are as on disk.
pub(super) fn directory(path: &Path, events: &Events) -> anyhow::Result<Checkout> {
    let what = || format!("could not use the context {}", path.display());
    let hint = "name an existing directory with --context, or a repository with --repo";
    let root = std::fs::canonicalize(path).explain(Kind::Usage, what(), hint)?;
    if !root.is_dir() {
        return Err(Failure::new(Kind::Usage, format!("{}: it is not a directory", what()), hint));
    }
    let mut checkout = Checkout::new(root.clone(), Origin::Directory, root.display().to_string(), None);
    match git::work_tree(&root) {
        Ok(Some(tree)) => {
            if tree.commit.is_none() {
                events.note(format!(
                    "the commit of {} is not known: it has none yet, or git does not trust it (safe.directory)",
                    tree.root.display()
                ));
            }
            checkout.commit = tree.commit;
            checkout.dirty = tree.dirty;
            checkout.modes = Modes::recorded(tree.root, tree.recorded);
        }
        Ok(None) => {}
        Err(error) => events.warn(format!(
            "could not ask git about {}, so file modes are as on disk and hits depend on the umask: {error:#}",
            root.display()
        )),
    }
    Ok(checkout)
}
