//! Whether what a builder has matched is there as well: where nobody can read its root, it is asked to open its results, and
//! stopped as soon as it fetches or unpacks a layer.

use tokio_util::sync::CancellationToken;

use super::Seen;
use super::answerer::Answerer;
use crate::buildkit::{Graph, Order, Patience, Request};
use crate::plan::Plan;
use crate::redact::Redactor;
use crate::report::Proof;
use crate::verify::{self, Ahead, Claim};

/// What came of it; nothing where the root itself is read, or nothing was found.
///
/// # Errors
/// When the builder could not be asked.
pub(super) async fn confirm(
    plan: &Plan,
    seen: &Seen,
    answerer: &Answerer,
    patience: Patience,
    cancel: &CancellationToken,
) -> anyhow::Result<Option<Proof>> {
    let targets = plan.sessions.iter().zip(&seen.graphs).zip(&seen.ahead);
    let request = |session: String, graph: &Graph, ahead: &Ahead| {
        let order = |node| Order { name: graph.operation(node).name.clone(), definition: graph.definition(node) };
        // An image that something is built on is not opened by itself: BuildKit may then not find that again.
        let (_, images, _) = graph.results();
        let there = ahead.there.iter().filter(|node| !images.contains(node));
        Request { session, tips: there.map(order).collect(), ..Request::default() }
    };
    let requests: Vec<Request> =
        targets.map(|((session, graph), ahead)| request(session.id.to_string(), graph, ahead)).collect();
    let results = requests.iter().map(Request::len).sum();
    if answerer.is_on_shadow() || results == 0 {
        return Ok(None);
    }
    let operations = seen.graphs.iter().flat_map(Graph::operations);
    let claim = Claim {
        sessions: plan.sessions.clone(),
        entitlements: plan.entitlements(),
        policy: plan.policy.clone(),
        requests,
        work: operations.filter(|operation| operation.is_work()).map(|operation| operation.digest.clone()).collect(),
        secrets: Redactor::all(seen.graphs.iter().map(Graph::secrets)),
        // Which blobs are layers is not known; one that is unpacked is.
        layers: Default::default(),
        only_asks: true,
    };
    let doubts = verify::ask_again(&answerer.builder.channel, claim, patience, cancel).await?;
    Ok(Some(Proof::of(doubts, results)))
}
