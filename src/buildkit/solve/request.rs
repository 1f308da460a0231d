//! One gateway build: a `Control.Solve` that stays open while results are asked for and opened.
//!
//! BuildKit holds every result of the build until it ends, and opens one result of a build at a time
//! (since v0.27.0): whoever wants results in parallel starts several builds. Source: `control/gateway`
//! and `frontend/gateway` of BuildKit.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::buildkit::v1::{self as control, frontend};
use bollard_buildkit_proto::pb;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::materialize::Patience;
use super::progress::StatusTracker;
use crate::buildkit::refusal::Refusal;
use crate::buildkit::session::SessionId;
use crate::buildkit::source_policy::SourcePolicy;
use crate::digest;
use crate::event::Events;
use crate::failure::{Failure, Kind};

/// Messages of BuildKit may be this large; tonic's own limit is a quarter of it.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What a builder has to offer, by its names for it (`frontend/gateway/pb/caps.go` of BuildKit).
const NEEDED: [&str; 5] = ["importcaches", "statfile", "proto.refarray", "reference.output", "gateway.solve.evaluate"];
/// And where there is a source policy, which an older one passes over.
const NEEDED_FOR_POLICY: [&str; 2] = ["source.policy", "source.metaresolver"];

/// What every build of a run has in common.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The builder.
    pub(crate) channel: Channel,
    /// `network.host` and the like, granted to every build.
    pub(crate) entitlements: Vec<String>,
    /// By which sources are refused and exchanged.
    pub(crate) policy: Option<SourcePolicy>,
    /// What listens to the builds' status streams.
    pub(crate) tracker: StatusTracker,
    /// How long is waited for what does not move.
    pub(crate) patience: Patience,
    /// Ends the run.
    pub(crate) cancel: CancellationToken,
    /// Who hears of it.
    pub(crate) events: Events,
}

/// A gateway build that is running. Dropping it cancels it, downloads included.
#[derive(Debug)]
pub(crate) struct Build {
    bridge: LlbBridgeClient<Channel>,
    id: AsciiMetadataValue,
    outer: watch::Receiver<Option<Result<(), Status>>>,
    status: JoinHandle<Result<HashSet<String>, Status>>,
    /// The vertices of the steps that were asked for.
    asked: Mutex<Vec<String>>,
    abort: [AbortHandle; 2],
}

/// One result of a frontend: what it is for and how it is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Solved {
    /// Its platform; absent when the frontend was not asked for several.
    pub(crate) platform: Option<String>,
    /// Its definition; absent when the result is `scratch`.
    pub(crate) definition: Option<pb::Definition>,
}

impl Build {
    /// Starts a build and waits until it takes requests. `session` serves contexts, credentials and secrets.
    pub(crate) async fn start(setting: &Setting, session: &str) -> anyhow::Result<Build> {
        let reference = SessionId::new()?.to_string();
        let id = AsciiMetadataValue::try_from(reference.as_str()).context("making a build id")?;
        let control = ControlClient::new(setting.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let request = control::SolveRequest {
            r#ref: reference.clone(),
            session: session.to_owned(),
            entitlements: setting.entitlements.clone(),
            source_policy: setting.policy.as_ref().map(SourcePolicy::message),
            // Keeps build args out of BuildKit's build history.
            internal: true,
            // BuildKit v0.20 does not survive a request without it.
            cache: Some(control::CacheOptions::default()),
            ..Default::default()
        };
        let mut solver = control.clone();
        let (sender, outer) = watch::channel(None);
        let solve = tokio::spawn(async move {
            let ended = solver.solve(request).await.map(drop);
            sender.send_replace(Some(ended));
        });
        let status = tokio::spawn(setting.tracker.clone().follow(control, reference));
        let bridge = LlbBridgeClient::new(setting.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let abort = [solve.abort_handle(), status.abort_handle()];
        let build = Build { bridge, id, outer, status, asked: Mutex::default(), abort };
        let request = build.request(frontend::PingRequest {});
        let mut bridge = build.bridge.clone();
        let pong = build.alive(async move { bridge.ping(request).await }).await.context("starting a build")?;
        let pong = pong.into_inner();
        let offered: Vec<_> = pong.frontend_api_caps.into_iter().chain(pong.llb_caps).collect();
        let more = setting.policy.iter().flat_map(|_| NEEDED_FOR_POLICY);
        can_all(NEEDED.into_iter().chain(more), |id| offered.iter().any(|cap| cap.id == id && cap.enabled))?;
        Ok(build)
    }

    /// A source as the source policy leaves it.
    ///
    /// # Errors
    /// When the policy denies it, and when what it has become cannot be found.
    pub(super) async fn under_policy(
        &self,
        source: pb::SourceOp,
        platform: Option<pb::Platform>,
    ) -> anyhow::Result<pb::SourceOp> {
        let request = frontend::ResolveSourceMetaRequest {
            log_name: format!("[internal] load metadata for {}", source.identifier),
            resolve_mode: source.attrs.get("image.resolvemode").cloned().unwrap_or_default(),
            source: Some(source),
            platform,
            ..Default::default()
        };
        let request = self.request(request);
        let mut bridge = self.bridge.clone();
        let answer = self.alive(async move { bridge.resolve_source_meta(request).await }).await?;
        answer.into_inner().source.context("the builder does not say what becomes of a source")
    }

    /// Solves with a frontend (`dockerfile.v0`) and gives its results, one per platform.
    ///
    /// # Errors
    /// When the frontend refuses: a missing Dockerfile, a syntax error, an unknown target.
    pub(crate) async fn frontend(
        &self,
        frontend: &str,
        options: HashMap<String, String>,
        inputs: HashMap<String, pb::Definition>,
    ) -> anyhow::Result<(Vec<Solved>, HashMap<String, Vec<u8>>)> {
        let request = frontend::SolveRequest {
            frontend: frontend.to_owned(),
            frontend_opt: options,
            frontend_inputs: inputs,
            allow_result_return: true,
            allow_result_array_ref: true,
            ..Default::default()
        };
        let result = self.solve(request).await?;
        let metadata = result.metadata;
        let solved = |platform, reference: frontend::Ref| Solved {
            platform,
            definition: reference.def.filter(|def| !def.def.is_empty()),
        };
        let results = match result.result {
            Some(frontend::result::Result::Ref(reference)) => vec![solved(None, reference)],
            Some(frontend::result::Result::Refs(map)) => {
                let mut refs: Vec<_> = map.refs.into_iter().collect();
                refs.sort_by(|a, b| a.0.cmp(&b.0));
                refs.into_iter().map(|(platform, reference)| solved(Some(platform), reference)).collect()
            }
            None => Vec::new(),
            Some(_) => bail!("the builder answers without definitions; it is too old"),
        };
        Ok((results, metadata))
    }

    /// Finds the result of a definition in the builder's cache or the `imports`, or makes it. Layers that are found
    /// stay where they are; the result is held until the build ends.
    pub(crate) async fn find(&self, definition: pb::Definition, imports: &[Import]) -> anyhow::Result<()> {
        self.expect(&definition);
        let entry = |import: &Import| frontend::CacheOptionsEntry {
            r#type: import.kind.to_owned(),
            attrs: import.attributes.clone(),
        };
        let cache_imports = imports.iter().map(entry).collect();
        let request = frontend::SolveRequest {
            definition: Some(definition),
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: true,
            cache_imports,
            ..Default::default()
        };
        self.solve(request).await.map(drop)
    }

    /// Asks for the result of a definition and opens it, which fetches and unpacks its whole chain.
    pub(crate) async fn open(&self, definition: pb::Definition) -> anyhow::Result<()> {
        self.expect(&definition);
        let request = frontend::SolveRequest {
            definition: Some(definition),
            allow_result_return: true,
            allow_result_array_ref: true,
            ..Default::default()
        };
        let result = self.solve(request).await?.result;
        let Some(frontend::result::Result::Ref(reference)) = result else { return Ok(()) };
        if reference.id.is_empty() {
            return Ok(());
        }
        // BuildKit mounts the result before it looks at the path: the mount is what fetches and unpacks.
        let request =
            self.request(frontend::StatFileRequest { r#ref: reference.id, path: "/".into(), ..Default::default() });
        let mut bridge = self.bridge.clone();
        self.alive(async move { bridge.stat_file(request).await }).await.map(drop)
    }

    /// Ends the build well and waits for the last of its status.
    ///
    /// # Errors
    /// Also when the status ended before the build, or without a word about a step that was asked for: then nobody heard the
    /// rest of it.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        if self.status.is_finished() {
            let heard = (&mut self.status).await.context("reading a build's status")?;
            heard.map_err(Refusal).context("reading a build's status")?;
            bail!("the status of a build ended before the build did, so nobody knows what became of its steps");
        }
        let request =
            self.request(frontend::ReturnRequest { result: Some(frontend::Result::default()), ..Default::default() });
        self.bridge.r#return(request).await.map_err(Refusal).context("ending a build")?;
        let ended = self.outer.wait_for(Option::is_some).await.context("waiting for a build to end")?.clone();
        ended.transpose().map_err(Refusal).context("ending a build")?;
        let heard = (&mut self.status).await.context("reading the last of a build's status")?;
        let heard = heard.map_err(Refusal).context("reading the last of a build's status")?;
        let asked = self.asked.get_mut().unwrap_or_else(PoisonError::into_inner);
        match asked.iter().filter(|vertex| !heard.contains(*vertex)).count() {
            0 => Ok(()),
            silent => bail!("the builder did not say what became of {silent} of the {} steps of a build", asked.len()),
        }
    }

    /// Has the end of the build ask for what its status said of a step.
    fn expect(&self, definition: &pb::Definition) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(step_of(definition));
    }

    async fn solve(&self, request: frontend::SolveRequest) -> anyhow::Result<frontend::Result> {
        let request = self.request(request);
        let mut bridge = self.bridge.clone();
        let response = self.alive(async move { bridge.solve(request).await }).await?;
        Ok(response.into_inner().result.unwrap_or_default())
    }

    /// A call on the bridge, which fails when the build itself does: the bridge alone may wait for ever.
    async fn alive<T>(&self, call: impl Future<Output = Result<T, Status>>) -> anyhow::Result<T> {
        let mut outer = self.outer.clone();
        tokio::select! {
            answer = call => Ok(answer.map_err(Refusal)?),
            ended = outer.wait_for(Option::is_some) => match ended.ok().and_then(|ended| ended.clone()) {
                Some(Err(status)) => Err(Refusal(status).into()),
                _ => bail!("the build ended early"),
            },
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("buildkit-controlapi-buildid", self.id.clone());
        request
    }
}

/// The vertex of the step whose result a definition asks for; none of an image or another source, which BuildKit tells of by
/// what it fetches. The last operation of a definition only names it (`solver/pb/ops.proto` of BuildKit).
fn step_of(definition: &pb::Definition) -> Option<String> {
    let last = pb::Op::decode(definition.def.last()?.as_slice()).ok()?;
    let vertex = last.inputs.into_iter().next()?.digest;
    let made = definition.def.iter().rev().find(|bytes| digest::sha256(bytes) == vertex)?;
    let made = pb::Op::decode(made.as_slice()).ok()?.op;
    (!matches!(made, Some(pb::op::Op::Source(_)))).then_some(vertex)
}

/// Whether a builder can do all that we ask for; it says so itself.
fn can_all<'a>(needed: impl Iterator<Item = &'a str>, can: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let missing: Vec<&str> = needed.filter(|id| !can(id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Environment,
        format!("the builder is too old: it lacks {}", missing.join(", ")),
        "use BuildKit v0.12 or later, or Docker 20.10 or later; with a source policy, BuildKit v0.13 or Docker 26",
    ))
}

impl Drop for Build {
    fn drop(&mut self) {
        self.abort.iter().for_each(AbortHandle::abort);
    }
}

/// A cache that BuildKit may import from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// `registry` or `local`.
    pub(crate) kind: &'static str,
    /// Such as `ref` and `registry.insecure`, or `src` and `digest`.
    pub(crate) attributes: HashMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_that_lacks_something_is_told_what() {
        assert!(can_all(NEEDED.into_iter(), |_| true).is_ok());
        let error = can_all(NEEDED.into_iter(), |id| id != "statfile").unwrap_err();
        assert_eq!(error.to_string(), "the builder is too old: it lacks statfile");
    }
}
