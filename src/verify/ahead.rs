//! What a build would do here, asked of BuildKit before it does it: which steps it has, and which it would run.
//!
//! A target's own result is asked for first. When BuildKit has it, it would run nothing, and everything below it counts as
//! a hit, as BuildKit itself says CACHED then. When it has not, what the result is made from is asked for in the same way,
//! down to steps of which BuildKit has everything but the step: those it would run. What lies on top of such a step is
//! unknown: it may be found by its content once the step has run.
//!
//! **Invariant:** asked on a shadow root whose daemon refuses to run steps. What runs inside the daemon nevertheless (a COPY)
//! is written to the shadow; nothing that is made from it is asked for any more, and another target needs another shadow
//! ([`Ahead::ran`]).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::buildkit::{self, Accounts, Graph, Node, Operation, Patience, RecordInUse, Setting, StatusTracker};
use crate::cancel::is_interrupted;
use crate::event::Events;
use crate::retry;

/// A build that was given up is over after this long, or goes on.
const SETTLING: Duration = Duration::from_secs(5);
/// Questions about one result, where records come and go.
const ATTEMPTS: u32 = 3;

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
    /// The results that were found; of what they are made from it is only known that a build does not need it.
    pub(crate) there: Vec<Node>,
    /// The records behind everything that was found.
    pub(crate) found: Vec<RecordInUse>,
    /// What the status streams said.
    pub(crate) accounts: Accounts,
    /// Vertices that ran nevertheless, or may have: the shadow, or the builder, has now what it had not.
    pub(crate) ran: HashSet<String>,
}

/// Finds out about one target, whose directories `session` serves. `is_in_root` knows the records of the root: what the
/// shadow's daemon has beside them, it has made.
///
/// # Errors
/// When it could not be asked: a registry that does not answer for a name, a builder that went away.
pub(crate) async fn look_ahead(
    setting: &Setting,
    session: &str,
    graph: &Graph,
    is_in_root: impl Fn(&str) -> bool,
) -> anyhow::Result<Ahead> {
    let work = graph.operations().iter().filter(|op| op.runs()).map(|op| op.digest.clone()).collect();
    let held_before = buildkit::held(&setting.channel).await?;
    let mut walk = Walk {
        setting,
        session,
        graph,
        is_in_root,
        work,
        held_before,
        begun: None,
        ran: HashSet::new(),
        may_have_made: false,
        asked: HashSet::new(),
        ahead: Ahead::default(),
    };
    let mut pending: Vec<Visit> = graph.ends().iter().cloned().map(Visit::Ask).collect();
    while let Some(visit) = pending.pop() {
        match visit {
            Visit::Ask(node) if walk.is_settled(&node) => {}
            Visit::Ask(node) => {
                if !walk.finds(&node).await? {
                    let inputs = graph.inputs(&node).to_vec();
                    pending.push(Visit::Judge(node));
                    pending.extend(inputs.into_iter().map(Visit::Ask));
                }
            }
            Visit::Judge(node) => walk.judge(&node),
        }
    }
    if !walk.ran.is_empty() {
        // What was given up is over when this is.
        walk.settled().await?;
    }
    Ok(Ahead { ran: walk.ran, ..walk.ahead })
}

/// What is left to do about a node.
enum Visit {
    /// BuildKit is to be asked.
    Ask(Node),
    /// BuildKit does not have it; everything it is made from is known.
    Judge(Node),
}

/// What came of a question.
enum Answered {
    /// BuildKit has it, by these records of the root.
    There(Vec<RecordInUse>),
    /// BuildKit has it, and by a record that was not there before.
    NewRecord,
    /// It has not.
    Missing,
}

/// The way through one target.
struct Walk<'a, R> {
    /// How to ask. Each question has a tracker of its own.
    setting: &'a Setting,
    session: &'a str,
    graph: &'a Graph,
    is_in_root: R,
    /// Vertices whose execution is a step's work.
    work: HashSet<String>,
    /// Records that are in use without us.
    held_before: HashMap<String, bool>,
    /// When the first question was put, by the builder's clock, once it was; nothing where the builder does not say.
    begun: Option<Option<(i64, i32)>>,
    /// Vertices that ran nevertheless, or may have.
    ran: HashSet<String>,
    /// Whether there is something that our questions may have made: a build that was given up may have run what its status
    /// did not come to tell.
    may_have_made: bool,
    /// Vertices whose results BuildKit was asked for; of others it is only known that something built on them is there.
    asked: HashSet<String>,
    ahead: Ahead,
}

impl<R: Fn(&str) -> bool> Walk<'_, R> {
    fn is_settled(&self, node: &Node) -> bool {
        let operation = self.graph.operation(node);
        // What a step that misses is built on is needed, and not only by what is there.
        let is_known = |outlook: &Outlook| *outlook != Outlook::Hit || self.asked.contains(&operation.digest);
        operation.is_directory() || self.ahead.outlooks.get(&operation.digest).is_some_and(is_known)
    }

    /// Whether BuildKit has a result from the root; then everything below it is settled.
    async fn finds(&mut self, node: &Node) -> anyhow::Result<bool> {
        let is_new = self.graph.everything_below(node).any(|below| self.ran.contains(&below.digest));
        if is_new || self.graph.operation(node).always_runs {
            return Ok(false);
        }
        let Some(records) = self.ask(node).await? else { return Ok(false) };
        self.asked.insert(self.graph.operation(node).digest.clone());
        for below in self.graph.everything_below(node) {
            self.ahead.outlooks.entry(below.digest.clone()).or_insert(Outlook::Hit);
        }
        self.ahead.there.push(node.clone());
        self.ahead.found.extend(records);
        Ok(true)
    }

    /// The root's records behind a result, if BuildKit has it from there. Notes what ran.
    async fn ask(&mut self, node: &Node) -> anyhow::Result<Option<Vec<RecordInUse>>> {
        let mut attempt = 1;
        loop {
            match self.ask_once(node).await? {
                // A build that was given up may have made it late, for another step. It is in use before the next
                // question, and its name tells what it is.
                Answered::NewRecord if attempt < ATTEMPTS => attempt += 1,
                Answered::There(records) => return Ok(Some(records)),
                Answered::NewRecord | Answered::Missing => return Ok(None),
            }
        }
    }

    async fn ask_once(&mut self, node: &Node) -> anyhow::Result<Answered> {
        let tracker = StatusTracker::new(Events::nobody(), true, self.graph.secrets().clone());
        tracker.expect(self.work.clone(), self.graph.secrets().clone());
        let setting = Setting {
            tracker: tracker.clone(),
            patience: Patience { attempts: 1, ..self.setting.patience },
            events: Events::nobody(),
            ..self.setting.clone()
        };
        let before = self.settled().await?;
        let found = buildkit::find(&setting, self.session, self.graph.definition(node)).await;
        let outcome = match found {
            Ok(build) => {
                let records = buildkit::in_use(&setting.channel).await;
                // Its status is heard to the end before anything is made of it.
                build.finish().await?;
                records
            }
            Err(error) => Err(error),
        };
        let heard = tracker.accounts();
        let worked = heard.vertices.iter().filter(|(digest, _)| self.work.contains(*digest));
        // What was still running when it was given up may have come to an end.
        let ran = worked.filter(|(_, account)| account.ran || account.is_running()).map(|(digest, _)| digest.clone());
        let ran: Vec<String> = ran.collect();
        let (has_run, has_tried) = (!ran.is_empty(), heard.vertices.values().any(|account| account.tried));
        self.ran.extend(ran);
        let begun = *self.begun.get_or_insert(heard.begun());
        self.ahead.accounts = heard.after(std::mem::take(&mut self.ahead.accounts));
        match outcome {
            Err(error) if is_interrupted(&error) || !(has_run || has_tried) => Err(error),
            Ok(records) if !has_run => {
                // BuildKit lists what a step has made under another id as long as nobody uses it.
                let is_older = |record: &RecordInUse| begun.is_some_and(|begun| record.created < begun);
                let is_made = |record: &RecordInUse| {
                    !before.contains_key(&record.id) && !(self.is_in_root)(&record.id) && !is_older(record)
                };
                if records.iter().any(is_made) {
                    self.may_have_made = true;
                    return Ok(Answered::NewRecord);
                }
                if self.may_have_made && self.is_our_making(node).await? {
                    return Ok(Answered::Missing);
                }
                let known = records.into_iter().filter(|record| (self.is_in_root)(&record.id));
                Ok(Answered::There(known.collect()))
            }
            _ => {
                self.may_have_made = true;
                Ok(Answered::Missing)
            }
        }
    }

    /// Whether something that a node is made from, or it itself, was made since the first question. What runs inside the
    /// daemon is not always told, and what it has made stays in use, so that its records alone do not show it.
    async fn is_our_making(&self, node: &Node) -> anyhow::Result<bool> {
        let records = buildkit::described(&self.setting.channel).await?;
        let made = records.iter().filter(|(id, _)| !(self.is_in_root)(id));
        // As the graph has its names.
        let made: HashSet<String> = made.map(|(_, name)| self.graph.secrets().text(name)).collect();
        // What is internal has the name of many others, and the step that it is for shows as well.
        let is_made = |below: &Operation| below.runs() && below.is_step() && made.contains(&below.name);
        Ok(self.graph.everything_below(node).any(is_made))
    }

    /// Waits until a build that was given up has written what it is about to write: that would pass for what the next
    /// one needs. Gives what is in use then; BuildKit forgets to let go of what such a build has made.
    async fn settled(&self) -> anyhow::Result<HashMap<String, bool>> {
        let deadline = Instant::now() + SETTLING;
        let mut last = HashMap::new();
        loop {
            let held = buildkit::held(&self.setting.channel).await?;
            let is_new = |id: &String| !self.held_before.contains_key(id);
            let is_quiet = !held.iter().any(|(id, is_written)| *is_written && is_new(id));
            if (is_quiet && (self.ran.is_empty() || held == last)) || Instant::now() > deadline {
                return Ok(held);
            }
            last = held;
            retry::pause(Duration::from_millis(10)).await;
        }
    }

    /// Says what a build would do about a node that BuildKit does not have; what it is made from is known.
    fn judge(&mut self, node: &Node) {
        let above = self.graph.inputs(node).iter().find_map(|input| {
            let operation = self.graph.operation(input);
            match self.ahead.outlooks.get(&operation.digest)? {
                Outlook::Hit => None,
                // The text of a heredoc, say: the step is the first that anybody knows of.
                Outlook::Miss if !operation.is_step() => None,
                Outlook::Miss => Some(operation.name.clone()),
                Outlook::Below(name) => Some(name.clone()),
            }
        });
        let outlook = above.map_or(Outlook::Miss, Outlook::Below);
        self.ahead.outlooks.insert(self.graph.operation(node).digest.clone(), outlook);
    }
}
