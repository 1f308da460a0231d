//! What the run will ask of the builder, decided before it is asked: resolved targets, and a session for each.

mod sent;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::auth::{Keychain, Secret};
use crate::buildkit::{
    Agents, Answer, Graph, Local, PermissionRule, Question, SecretValues, Secrets, Services, SessionId, SessionPlan,
    SourcePolicy, Stores,
};
use crate::digest;
use crate::event::Events;
use crate::redact::Redactor;
use crate::source::{self, Checkout, ModeRule, SourceSpec};
use crate::targets::{self, DonorKind, NamedContext, Policy, Target};

/// What is built; nothing in it was read from the environment below `cli`.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// Where the source comes from.
    pub(crate) source: SourceSpec,
    /// Which modes its files have, where somebody said so.
    pub(crate) modes: Option<ModeRule>,
    /// The builds, in the order they were asked for; a target comes after the targets it takes contexts from.
    pub(crate) targets: Vec<Target>,
    /// What was read of the secrets that the targets name.
    pub(crate) secrets: SecretValues,
    /// By which BuildKit refuses and exchanges sources.
    pub(crate) policy: Option<SourcePolicy>,
    /// `--public`: the build arguments that are no secrets.
    pub(crate) public: BTreeSet<String>,
    /// `SSH_AUTH_SOCK`: the agent behind `--ssh` without a socket of its own, and behind git over ssh.
    pub(crate) ssh_auth_sock: Option<PathBuf>,
}

/// The decided run.
pub(crate) struct Plan {
    /// Where the files are; its temporary parts go when the plan goes.
    pub(crate) checkout: Checkout,
    /// The targets with absolute paths.
    pub(crate) targets: Vec<Target>,
    /// What serves each of them.
    pub(crate) sessions: Vec<SessionPlan>,
    /// By which BuildKit refuses and exchanges sources.
    pub(crate) policy: Option<SourcePolicy>,
    /// Hides the secrets of the build.
    pub(crate) secrets: Redactor,
    /// When it was decided. Nothing was sent to a builder before.
    decided_at: SystemTime,
    /// Set when [`Plan::fill_pointers`] looked; when it had written files.
    filled_at: OnceLock<Option<SystemTime>>,
}

impl Build {
    /// Hides its secrets, and those of its build arguments that are secrets by their names.
    pub(crate) fn redactor(&self) -> Redactor {
        let values = self.secrets.values().filter_map(|read| read.as_ref().ok()?.as_ref());
        let arguments = self.targets.iter().flat_map(|target| &target.build_args);
        let arguments = arguments.map(|(name, value)| (name.as_str(), value.as_str()));
        Redactor::of_secrets(values.map(Secret::reveal_bytes)).but_not(self.public.clone()).and(arguments)
    }
}

impl Plan {
    /// Decides.
    ///
    /// # Errors
    /// Explained: paths that do not exist, `{rev}` without a commit.
    pub(crate) fn new(
        build: &Build,
        mut checkout: Checkout,
        keychain: &Keychain,
        events: &Events,
    ) -> anyhow::Result<Plan> {
        let targets = checkout.resolve(build.targets.clone())?;
        source::without_policies(&targets)?;
        for advice in source::advice(&targets) {
            events.warn(advice);
        }
        let modes = checkout.modes.clone();
        let permissions: PermissionRule = Arc::new(move |path, on_disk| modes.permissions(path, on_disk));
        // One for each: BuildKit finds a directory again by its session, and would keep what is made of it for a second target
        // under that name alone, which no later build looks for.
        let run = SessionId::new()?;
        let session = |target: &Target| session(build, keychain, events, &permissions, &run, target);
        let sessions = targets.iter().map(session).collect::<anyhow::Result<_>>()?;
        Ok(Plan {
            checkout,
            targets,
            sessions,
            policy: build.policy.clone(),
            secrets: build.redactor(),
            decided_at: SystemTime::now(),
            filled_at: OnceLock::new(),
        })
    }

    /// Since when files may have been sent to a builder. No step's files are sent before the pointers among them are filled.
    pub(crate) fn sent_since(&self) -> SystemTime {
        self.filled_at.get().copied().flatten().unwrap_or(self.decided_at)
    }

    /// What to ask the frontend about each target. Inside dockerd its own images come before those of registries, as buildx
    /// has it there.
    pub(crate) fn questions(&self, is_inside_dockerd: bool) -> Vec<Question> {
        let question = |(target, session): (&Target, &SessionPlan)| {
            let mut options: HashMap<String, String> = targets::attributes(target).into_iter().collect();
            if is_inside_dockerd {
                options.entry("image-resolve-mode".to_owned()).or_insert_with(|| "local".to_owned());
            }
            let is_fetched = options.contains_key("context") && !options.contains_key("dockerfilekey");
            let beside = is_fetched && target.policy == Policy::Beside;
            Question {
                target: target.name.clone(),
                inputs: inputs(target),
                session: session.id.to_string(),
                refused_with: options.get("filename").filter(|_| beside).map(|name| format!("{name}.rego")),
                options,
            }
        };
        self.targets.iter().zip(&self.sessions).map(question).collect()
    }

    /// The names of the targets.
    pub(crate) fn names(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.name.clone()).collect()
    }

    /// The directory that a target's session serves under a name.
    pub(crate) fn local(&self, target: usize, name: &str) -> Option<&Local> {
        self.sessions.get(target)?.services.locals.get(name)
    }

    /// What each target is made of, as the frontend answered; the values of secrets are not in the names.
    ///
    /// # Errors
    /// When a definition is no graph.
    pub(crate) fn graphs(&self, answers: &[Answer]) -> anyhow::Result<Vec<Graph>> {
        let graph = |answer: &Answer| {
            let mut graph = Graph::default();
            for definition in answer.definitions() {
                graph.add(definition)?;
            }
            graph.redact(&self.secrets);
            Ok(graph)
        };
        answers.iter().map(graph).collect()
    }

    /// Everything the targets need to be granted.
    pub(crate) fn entitlements(&self) -> Vec<String> {
        let mut all: Vec<String> = self.targets.iter().flat_map(targets::entitlements).collect();
        all.sort();
        all.dedup();
        all
    }
}

fn inputs(target: &Target) -> Vec<(String, String)> {
    let input = |(context, value): (&String, &NamedContext)| match value {
        NamedContext::Target(name) => Some((context.clone(), name.clone())),
        _ => None,
    };
    target.named_contexts.iter().filter_map(input).collect()
}

fn session(
    build: &Build,
    keychain: &Keychain,
    events: &Events,
    permissions: &PermissionRule,
    run: &SessionId,
    target: &Target,
) -> anyhow::Result<SessionPlan> {
    let directories = targets::directories(target);
    // By this key BuildKit finds its copy of a directory, and asks for what differs from it by size and time: another target
    // of this run that has the same directories shares it. A file of another directory, or of an earlier run, may differ in
    // its bytes alone.
    let shared_key = digest::sha256(format!("{run} {directories:?}"));
    let locals = directories.into_iter().map(|(name, path)| (name, Local::directory(path, permissions.clone())));
    let caches = target.donors.iter().filter(|donor| donor.kind == DonorKind::Local);
    let services = Services {
        caches: Stores::new(caches.map(|donor| donor.reference.clone())),
        logins: Arc::new(keychain.clone()),
        locals: locals.collect(),
        secrets: Secrets::new(&target.secrets, &build.secrets),
        agents: Agents::new(&target.ssh, build.ssh_auth_sock.clone())?,
        events: events.clone(),
    };
    Ok(SessionPlan { id: SessionId::new()?, shared_key, services })
}
