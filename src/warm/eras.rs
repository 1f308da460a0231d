//! What lies in the root before a run, and was not made by the BuildKit that is used now.

use anyhow::Context;

use crate::buildkit::Builder;
use crate::event::Events;
use crate::report::eras;
use crate::verify;

/// Says what the run will cost on disk because another BuildKit made the root; gives what was said.
pub(super) async fn look(builder: &Builder, events: &Events) -> anyhow::Result<Option<String>> {
    let Some(root) = builder.root.path().map(ToOwned::to_owned) else { return Ok(None) };
    let (worker_id, version) = (builder.worker_id.clone(), builder.version.clone());
    let looking = tokio::task::spawn_blocking(move || verify::unpacked_again(&root, &worker_id, &version));
    let again = looking.await.context("reading the state root")?;
    let said = again.map(|again| {
        let name = format!("BuildKit {}", builder.version);
        let what = eras::unpacked_again(&name, again.layers, again.bytes);
        format!("{what}; that takes as much room again, until garbage collection takes the older ones")
    });
    if let Some(said) = &said {
        events.note(said.clone());
    }
    Ok(said)
}
