//! What the daemon that will use a root makes of layers that others wrote.

use std::collections::HashMap;

use super::Looked;
use super::holders::{Holders, Place};
use super::user::User;
use crate::era;
use crate::inspect::{Record, RecordType, Worker};
use crate::report::check::UsedBy;
use crate::report::eras::unpacked_again;
use crate::report::words::{bytes, count};

/// Whether a build of the user finds a layer when it imports a cache. Frontends are in no cache, and the results of others
/// lead every daemon to them.
pub(super) fn finds(user: &User, record: &Record) -> bool {
    !record.legacy || record.record_type == RecordType::Frontend || user.era().finds_legacy_layers()
}

/// Whether it uses what a layer holds, under this name or a newer one.
pub(super) fn reuses(user: &User, worker: &Worker, record: &Record) -> bool {
    finds(user, record) || worker.is_superseded(record)
}

/// The report's words on the user: what of the layers with results it finds, and what it unpacks again.
pub(super) fn used_by(looked: &Looked, holders: &Holders<'_>) -> UsedBy {
    let (state, user) = (&looked.state, &looked.user);
    let mut again: HashMap<Place<'_>, &Record> = HashMap::new();
    for (number, id) in &holders.layers {
        let worker = &state.workers[*number];
        if reuses(user, worker, &worker.records[*id]) {
            continue;
        }
        let lost = worker.chain(id).records.into_iter();
        let lost = lost.filter(|record| !reuses(user, worker, record) && record.is_layer());
        again.extend(lost.map(|record| ((*number, record.id.as_str()), record)));
    }
    UsedBy {
        buildkit_version: user.version.clone(),
        found: user.found.clone(),
        named: user.is_named,
        writers: era::writers(state.traces),
        stopped: if looked.is_running() { "running" } else { state.stopped.name() },
        unpacked_again: again.len(),
        unpacked_again_bytes: again.values().map(|record| record.unpacked_bytes_on_disk).sum(),
    }
}

/// How much it unpacks again, in words.
pub(super) fn price(used_by: &UsedBy, user: &User) -> String {
    let found = if user.version.is_empty() { String::new() } else { format!(" ({})", user.found) };
    unpacked_again(&format!("{}{found}", user.name()), used_by.unpacked_again, used_by.unpacked_again_bytes)
}

/// What a person should know of the eras of a root.
pub(super) fn notes(looked: &Looked, used_by: &UsedBy, is_required: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if used_by.unpacked_again > 0 && !is_required {
        notes.push(price(used_by, &looked.user));
    }
    if looked.user.era().is_beyond_knowledge() {
        notes.push(format!("{} is newer than what is known here: taken for {}", looked.user.name(), era::NEWEST_KNOWN));
    }
    let twice: Vec<&Record> = looked.state.workers.iter().flat_map(Worker::superseded).collect();
    if !twice.is_empty() {
        let size = bytes(twice.iter().map(|record| record.unpacked_bytes_on_disk).sum());
        let layers = count(twice.len(), "layer");
        notes.push(format!(
            "{layers} unpacked twice, {size} more, under an older name as well: no build needs those, and BuildKit's garbage \
             collection takes them when it needs room"
        ));
    }
    notes
}
