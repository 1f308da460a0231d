//! Has BuildKit forget: its history of builds, and records by what they are.

use anyhow::Context;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{BuildHistoryRequest, PruneRequest, UpdateBuildHistoryRequest};
use tonic::transport::Channel;

use super::refusal::Refusal;
use super::solve::MAX_MESSAGE_BYTES;

/// Has BuildKit forget what nothing refers to, such as the remains of downloads that cannot be completed. Asking it to
/// prune a record that does not exist does that and nothing else.
///
/// # Errors
/// When BuildKit refuses.
pub(crate) async fn collect_garbage(channel: &Channel) -> anyhow::Result<()> {
    prune(channel, vec!["id==none".into()]).await
}

/// Has BuildKit remove the records that one of these filters names: `type==source.local`, `id==…`. Collects garbage as well.
///
/// # Errors
/// When BuildKit refuses.
pub(crate) async fn prune(channel: &Channel, filters: Vec<String>) -> anyhow::Result<()> {
    let mut control = ControlClient::new(channel.clone());
    let request = PruneRequest { filter: filters, all: true, ..Default::default() };
    let mut pruned = control.prune(request).await.map_err(Refusal).context("removing cache records")?.into_inner();
    while pruned.message().await.map_err(Refusal).context("removing cache records")?.is_some() {}
    Ok(())
}

/// Removes every build from BuildKit's history. Their logs and attestations go with the next collection of garbage.
///
/// # Errors
/// When BuildKit refuses.
pub(crate) async fn forget_history(channel: &Channel) -> anyhow::Result<()> {
    let mut control = ControlClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = BuildHistoryRequest { early_exit: true, ..Default::default() };
    let mut history = control
        .listen_build_history(request)
        .await
        .map_err(Refusal)
        .context("listing the history of builds")?
        .into_inner();
    let mut builds = Vec::new();
    while let Some(event) = history.message().await.map_err(Refusal).context("listing the history of builds")? {
        builds.extend(event.record.map(|record| record.r#ref));
    }
    for build in builds {
        let request = UpdateBuildHistoryRequest { r#ref: build, delete: true, ..Default::default() };
        control.update_build_history(request).await.map_err(Refusal).context("removing a build from the history")?;
    }
    Ok(())
}
