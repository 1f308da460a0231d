//! What a build would do here, asked of BuildKit before it does it: which steps it has, and which it would run.
//!
//! A target's own result is asked for first. When BuildKit has it, it would run nothing, and everything below it counts as
//! a hit, as BuildKit itself says CACHED then. When it has not, what the result is made from is asked for in the same way,
//! down to steps of which BuildKit has everything but the step: those it would run. What lies on top of such a step is
//! unknown: it may be found by its content once the step has run.
//!
//! **Invariant:** asked on a shadow root whose daemon refuses to run steps. What runs inside the daemon nevertheless (a COPY)
//! is written to the shadow; it is a miss, also when it is asked for again and found.

use std::collections::{HashMap, HashSet};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::buildkit::{self, Accounts, Build, Graph, Ledger, Node, Patience, RecordInUse, Setting};
use crate::event::Events;
use crate::failure::{Failure, Kind};

/// What a build would do about a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// BuildKit has it.
    Hit,
    /// BuildKit would run it.
    Miss,
    /// It is made from a step that BuildKit would run: that one's name.
    Below(String),
}

/// What was found out about a build.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// By vertex digest; vertices that are not needed are absent.
    pub(crate) outlooks: HashMap<String, Outlook>,
    /// The records behind everything that was found; the shadow's own may be among them.
    pub(crate) found: Vec<RecordInUse>,
    /// What the status streams said.
    pub(crate) accounts: Accounts,
}

/// How to ask.
#[derive(Debug, Clone)]
pub(crate) struct Asking<'a> {
    /// The builder.
    pub(crate) channel: &'a Channel,
    /// What the targets need to be granted.
    pub(crate) entitlements: Vec<String>,
    /// For how long nothing may move.
    pub(crate) patience: Patience,
    /// Ends it.
    pub(crate) cancel: &'a CancellationToken,
}

/// Finds out about one target, whose directories `session` serves.
///
/// # Errors
/// When it could not be asked: a registry that does not answer for a name, a builder that went away.
pub(crate) async fn look_ahead(asking: &Asking<'_>, session: &str, graph: &Graph) -> anyhow::Result<Ahead> {
    let mut ahead = Ahead::default();
    let mut ran = HashSet::new();
    let mut pending: Vec<Visit> = graph.ends().iter().cloned().map(Visit::Ask).collect();
    while let Some(visit) = pending.pop() {
        match visit {
            Visit::Ask(node) if is_settled(&ahead, graph, &node) => {}
            Visit::Ask(node) => {
                let operation = graph.operation(&node);
                let build = match operation.always_runs || ran.contains(&operation.digest) {
                    true => None,
                    false => ask(asking, session, graph, &node, &mut ran, &mut ahead.accounts).await?,
                };
                if let Some(build) = build {
                    // Now: what an earlier build shared with this one may be let go with that one.
                    for record in buildkit::in_use(asking.channel).await? {
                        if !ahead.found.contains(&record) {
                            ahead.found.push(record);
                        }
                    }
                    build.finish().await?;
                    graph.everything_below(&node, |digest| {
                        ahead.outlooks.entry(digest.to_owned()).or_insert(Outlook::Hit);
                    });
                } else {
                    let inputs = graph.inputs(&node).to_vec();
                    pending.push(Visit::Judge(node));
                    pending.extend(inputs.into_iter().map(Visit::Ask));
                }
            }
            Visit::Judge(node) => {
                let outlook = judged(&ahead, graph, &node);
                ahead.outlooks.insert(graph.operation(&node).digest.clone(), outlook);
            }
        }
    }
    Ok(ahead)
}

/// What is left to do about a node.
enum Visit {
    /// BuildKit is to be asked.
    Ask(Node),
    /// BuildKit does not have it; everything it is made from is known.
    Judge(Node),
}

fn is_settled(ahead: &Ahead, graph: &Graph, node: &Node) -> bool {
    let operation = graph.operation(node);
    operation.is_directory() || ahead.outlooks.contains_key(&operation.digest)
}

fn judged(ahead: &Ahead, graph: &Graph, node: &Node) -> Outlook {
    let above = graph.inputs(node).iter().find_map(|input| {
        let operation = graph.operation(input);
        match ahead.outlooks.get(&operation.digest)? {
            Outlook::Hit => None,
            Outlook::Miss => Some(operation.name.clone()),
            Outlook::Below(name) => Some(name.clone()),
        }
    });
    above.map_or(Outlook::Miss, Outlook::Below)
}

/// The build that holds the result, if BuildKit has it. Notes what ran.
async fn ask(
    asking: &Asking<'_>,
    session: &str,
    graph: &Graph,
    node: &Node,
    ran: &mut HashSet<String>,
    accounts: &mut Accounts,
) -> anyhow::Result<Option<Build>> {
    let ledger = Ledger::new(Events::nobody(), true);
    // Fetching an image is no step, and happens only when somebody runs something on it.
    let work: HashSet<String> = graph.operations().iter().filter(|op| op.runs()).map(|op| op.digest.clone()).collect();
    ledger.expect_work(work.clone());
    let setting =
        Setting { channel: asking.channel.clone(), entitlements: asking.entitlements.clone(), ledger: ledger.clone() };
    let found = buildkit::find(&setting, session, graph.definition(node), asking.patience, asking.cancel).await;
    let heard = ledger.accounts();
    let began = |digest: &String| heard.vertices.get(digest).is_some_and(|account| account.ran);
    let these: Vec<String> = work.into_iter().filter(began).collect();
    let tried = heard.vertices.values().any(|account| account.tried);
    *accounts = heard.after(std::mem::take(accounts));
    let has_run = !these.is_empty();
    ran.extend(these);
    match found {
        Ok(build) if !has_run => Ok(Some(build)),
        Ok(build) => build.finish().await.map(|()| None),
        Err(error) if is_interruption(&error) => Err(error),
        Err(_) if has_run || tried => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_interruption(error: &anyhow::Error) -> bool {
    Failure::of(error).is_some_and(|failure| failure.kind == Kind::Interrupted)
}
