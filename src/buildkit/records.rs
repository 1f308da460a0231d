//! Which of BuildKit's cache records are in use right now: while the results of a run are held, that is exactly
//! what the run opened, with everything below it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{DiskUsageRequest, UsageRecord};
use tonic::transport::Channel;

use super::refusal::Refusal;
use super::solve::{MAX_MESSAGE_BYTES, is_copy_of_directory};

/// BuildKit measures records it has not measured yet, so this may take a while on a large cache.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Everything but copies of our directories (`local source for …`): BuildKit would go through all their files to tell how
/// large they are. The filter's language is containerd's, and its patterns are Go's, which know no negation.
const BUT_DIRECTORIES: &str =
    r#"description~="^($|[^l]|l[^o]|lo[^c]|loc[^a]|loca[^l]|local[^ ]|local [^s]|local s[^o])""#;

/// A record in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordInUse {
    /// Its id, as the state root's databases have it.
    pub(crate) id: String,
    /// `regular`, `frontend`, `source.local`, …
    pub(crate) record_type: String,
    /// When it was made, by the builder's clock: seconds and nanoseconds; the end of time where it does not say.
    pub(crate) created: (i64, i32),
}

/// The immutable records that are in use.
pub(crate) async fn in_use(channel: &Channel) -> anyhow::Result<Vec<RecordInUse>> {
    let records = used(channel).await?.filter(|record| !record.mutable);
    // The state of a directory of ours at this moment: a later transfer replaces it, and nobody builds on it.
    let records = records.filter(|record| !is_copy_of_directory(&record.description));
    let in_use = |record: UsageRecord| RecordInUse {
        created: record.created_at.map_or((i64::MAX, 0), |time| (time.seconds, time.nanos)),
        id: record.id,
        record_type: record.record_type,
    };
    Ok(records.map(in_use).collect())
}

/// The ids of everything that is in use, and whether something of it is being written.
pub(crate) async fn held(channel: &Channel) -> anyhow::Result<HashMap<String, bool>> {
    let records = used(channel).await?;
    Ok(records.map(|record| (record.id, record.mutable)).collect())
}

async fn used(channel: &Channel) -> anyhow::Result<impl Iterator<Item = UsageRecord>> {
    let records = list(channel, &format!("inuse,{BUT_DIRECTORIES}")).await?;
    Ok(records.into_iter().filter(|record| record.in_use))
}

/// The id and the description of everything that is there; that of what a step has made in BuildKit itself is its name.
pub(crate) async fn described(channel: &Channel) -> anyhow::Result<Vec<(String, String)>> {
    let records = list(channel, BUT_DIRECTORIES).await?;
    Ok(records.into_iter().map(|record| (record.id, record.description)).collect())
}

/// The ids of everything that is there.
pub(crate) async fn all(channel: &Channel) -> anyhow::Result<HashSet<String>> {
    Ok(list(channel, "").await?.into_iter().map(|record| record.id).collect())
}

async fn list(channel: &Channel, filter: &str) -> anyhow::Result<Vec<UsageRecord>> {
    let mut control = ControlClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = DiskUsageRequest {
        filter: Some(filter).filter(|filter| !filter.is_empty()).map(str::to_owned).into_iter().collect(),
        ..Default::default()
    };
    let usage = tokio::time::timeout(TIMEOUT, control.disk_usage(request)).await;
    let usage = usage.context("BuildKit did not list its records in time")?;
    let usage = usage.map_err(Refusal).context("listing BuildKit's records")?;
    Ok(usage.into_inner().record)
}
