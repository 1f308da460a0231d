//! Which files of our directories a build is sent.

use std::path::PathBuf;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::Plan;
use crate::buildkit::{EntryKind, Graph, Local, Selection};
use crate::cancel::{interrupted, unless_cancelled};
use crate::event::Events;
use crate::source::{self, POINTER_SIZES};

impl Plan {
    /// Makes pointers of Git LFS that the build is sent what they stand for, or says that they are pointers; once a run. The
    /// graphs are those of all targets.
    ///
    /// # Errors
    /// Explained: files that cannot be had. When somebody ends the run.
    pub(crate) async fn fill_pointers(
        &self,
        graphs: &[Graph],
        cancel: &CancellationToken,
        events: &Events,
    ) -> anyhow::Result<()> {
        if self.filled_at.get().is_some() {
            return Ok(());
        }
        let (sent, stop) = (self.sent(graphs), cancel.clone());
        let files = tokio::task::spawn_blocking(move || small_files(&sent, &stop)).await??;
        let has_written = unless_cancelled(cancel, source::fill_pointers(&self.checkout, files, events)).await?;
        // Whoever was first has looked.
        let _ = self.filled_at.set(has_written.then(SystemTime::now));
        Ok(())
    }

    /// The directories of ours that the targets are made from, each with what is wanted of it.
    fn sent(&self, graphs: &[Graph]) -> Vec<(Local, Selection)> {
        let mut sent: Vec<(Local, Selection)> = Vec::new();
        for (target, graph) in graphs.iter().enumerate() {
            for (name, selection) in graph.operations().iter().filter_map(|operation| operation.directory()) {
                let Some(local) = self.local(target, &name) else { continue };
                if !sent.iter().any(|(known, wanted)| known.path() == local.path() && *wanted == selection) {
                    sent.push((local.clone(), selection));
                }
            }
        }
        sent
    }
}

/// The files that are as small as a pointer. What cannot be read is for BuildKit to complain of, which is sent it next.
fn small_files(sent: &[(Local, Selection)], cancel: &CancellationToken) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (local, selection) in sent {
        let walked = local.fingerprint(
            selection,
            |_| false,
            |entry| {
                if entry.kind == EntryKind::File && POINTER_SIZES.contains(&entry.size) {
                    files.push(local.path().join(&entry.path));
                }
                if cancel.is_cancelled() { Err(interrupted()) } else { Ok(()) }
            },
        );
        if cancel.is_cancelled() {
            walked?;
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}
