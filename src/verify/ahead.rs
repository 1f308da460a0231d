//! What a build would do here, asked of BuildKit before it does it: which steps it has, and which it would run.
//!
//! A target's own result is asked for first. When BuildKit has it, it would run nothing, and everything below it counts as
//! a hit, as BuildKit itself says CACHED then. When it has not, what the result is made from is asked for in the same way,
//! down to steps of which BuildKit has everything but the step: those it would run. What lies on top of such a step is
//! unknown: it may be found by its content once the step has run.
//!
//! **Invariant:** asked on a shadow root whose daemon refuses to run steps. What runs inside the daemon nevertheless (a COPY)
//! is written to the shadow; nothing that is made from it is asked for any more, and another target needs another shadow
//! ([`Ahead::has_run`]).

use std::collections::{HashMap, HashSet};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::buildkit::{self, Accounts, Graph, Ledger, Node, Patience, RecordInUse, Setting};
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
    /// The records behind everything that was found.
    pub(crate) found: Vec<RecordInUse>,
    /// What the status streams said.
    pub(crate) accounts: Accounts,
    /// Whether the shadow has now what the root has not.
    pub(crate) has_run: bool,
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

/// Finds out about one target, whose directories `session` serves. `is_in_root` knows the records of the root: what the
/// shadow's daemon has beside them, it has made.
///
/// # Errors
/// When it could not be asked: a registry that does not answer for a name, a builder that went away.
pub(crate) async fn look_ahead(
    asking: &Asking<'_>,
    session: &str,
    graph: &Graph,
    is_in_root: impl Fn(&str) -> bool,
) -> anyhow::Result<Ahead> {
    let mut ahead = Ahead::default();
    let mut ran = HashSet::new();
    let mut pending: Vec<Visit> = graph.ends().iter().cloned().map(Visit::Ask).collect();
    while let Some(visit) = pending.pop() {
        match visit {
            Visit::Ask(node) if is_settled(&ahead, graph, &node) => {}
            Visit::Ask(node) => {
                let mut is_askable = !graph.operation(&node).always_runs;
                graph.everything_below(&node, |digest| is_askable &= !ran.contains(digest));
                let found = match is_askable {
                    true => ask(asking, session, graph, &node, &is_in_root, &mut ran, &mut ahead).await?,
                    false => None,
                };
                if let Some(records) = found {
                    graph.everything_below(&node, |digest| {
                        ahead.outlooks.entry(digest.to_owned()).or_insert(Outlook::Hit);
                    });
                    ahead.found.extend(records);
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
    ahead.has_run = !ran.is_empty();
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

/// The root's records behind a result, if BuildKit has it from there. Notes what ran.
async fn ask(
    asking: &Asking<'_>,
    session: &str,
    graph: &Graph,
    node: &Node,
    is_in_root: &impl Fn(&str) -> bool,
    ran: &mut HashSet<String>,
    ahead: &mut Ahead,
) -> anyhow::Result<Option<Vec<RecordInUse>>> {
    let ledger = Ledger::new(Events::nobody(), true);
    let work: HashSet<String> = graph.operations().iter().filter(|op| op.runs()).map(|op| op.digest.clone()).collect();
    ledger.expect_work(work.clone());
    let setting =
        Setting { channel: asking.channel.clone(), entitlements: asking.entitlements.clone(), ledger: ledger.clone() };
    // What an earlier build left in use has nothing to do with this one.
    let before = buildkit::in_use(asking.channel).await?;
    let found = buildkit::find(&setting, session, graph.definition(node), asking.patience, asking.cancel).await;
    let outcome = match found {
        Ok(build) => {
            let records = buildkit::in_use(asking.channel).await;
            // Its status is heard to the end before anything is made of it.
            build.finish().await?;
            records
        }
        Err(error) => Err(error),
    };
    let heard = ledger.accounts();
    let ran_now: Vec<String> =
        work.into_iter().filter(|digest| heard.vertices.get(digest).is_some_and(|account| account.ran)).collect();
    let (has_run, has_tried) = (!ran_now.is_empty(), heard.vertices.values().any(|account| account.tried));
    ran.extend(ran_now);
    ahead.accounts = heard.after(std::mem::take(&mut ahead.accounts));
    match outcome {
        Err(error) if is_interruption(&error) || !(has_run || has_tried) => Err(error),
        Ok(records) if !has_run => {
            let is_made = |record: &&RecordInUse| !before.contains(record) && !is_in_root(&record.id);
            let is_here = records.iter().find(is_made).is_none();
            Ok(is_here.then(|| records.into_iter().filter(|record| is_in_root(&record.id)).collect()))
        }
        _ => Ok(None),
    }
}

fn is_interruption(error: &anyhow::Error) -> bool {
    Failure::of(error).is_some_and(|failure| failure.kind == Kind::Interrupted)
}
