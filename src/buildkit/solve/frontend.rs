//! Asks the Dockerfile frontend what a target is made of: its definitions, before anything is built.

use std::collections::HashMap;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::pb;

use super::blame::{fetch_remedy, is_denied, is_left_by_a_crash, is_lost, is_surroundings};
use super::converted::convert;
use super::materialize::patiently;
use super::request::{Build, Setting, Solved};
use crate::failure::{Failure, Kind};
use crate::source;

/// The frontend that is built into every BuildKit. It hands over to another one when the Dockerfile's
/// `# syntax=` line names one.
const FRONTEND: &str = "dockerfile.v0";
const NO_GIT: &str = "correct the URL, or what lies there: only a URL that ends in .git is a git repository, and what another \
                      one gives is taken for an archive or a Dockerfile";
const DENIED: &str = "have the source policy (--source-policy, EXPERIMENTAL_BUILDKIT_SOURCE_POLICY) allow the source, or \
                      build from another one";
const IMAGE_CONFIG: &str = "containerimage.config";

/// A target to ask about.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The target's name.
    pub(crate) target: String,
    /// FrontendOpt.
    pub(crate) options: HashMap<String, String>,
    /// Contexts that are results of earlier targets: (context name, target name).
    pub(crate) inputs: Vec<(String, String)>,
    /// The session that serves its directories.
    pub(crate) session: String,
    /// A file that must not lie in a context that the builder fetches: a policy that buildx alone evaluates.
    pub(crate) refused_with: Option<String>,
}

/// What a target is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// One result for each platform; none for a result that is `scratch`.
    results: Vec<Made>,
}

/// What one platform of a target is made of.
#[derive(Debug, Clone)]
struct Made {
    /// None where the target was not asked for several platforms.
    platform: Option<String>,
    /// None for `scratch`.
    definition: Option<pb::Definition>,
    /// The image's configuration.
    config: Option<Vec<u8>>,
}

impl Answer {
    /// The definitions, one for each platform; none for a result that is `scratch`.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &pb::Definition> {
        self.results.iter().filter_map(|made| made.definition.as_ref())
    }

    /// Gives what it is made of to a build that names it as a context: one for each platform, as buildx does (`waitContextDeps`
    /// in its build/build.go). The frontend takes that of the platform it builds for.
    fn give(
        &self,
        context: &str,
        options: &mut HashMap<String, String>,
        inputs: &mut HashMap<String, pb::Definition>,
    ) -> anyhow::Result<()> {
        options.remove(&format!("context:{context}"));
        for made in &self.results {
            let Some(definition) = made.definition.clone() else {
                let what = format!(
                    "the context `{context}` is a target that makes nothing, which BuildKit takes for no context"
                );
                let hint = "write FROM scratch in its place, or give the target at least one COPY";
                return Err(Failure::new(Kind::Build, what, hint));
            };
            let name = match &made.platform {
                Some(platform) => format!("{context}::{platform}"),
                None => context.to_owned(),
            };
            options.insert(format!("context:{name}"), format!("input:{name}"));
            inputs.insert(name.clone(), sendable(definition));
            if let Some(config) = &made.config {
                let metadata = HashMap::from([(IMAGE_CONFIG, STANDARD.encode(config))]);
                options.insert(format!("input-metadata:{name}"), serde_json::to_string(&metadata)?);
            }
        }
        Ok(())
    }
}

/// Asks about the targets in their order; each may take results of those before it as contexts.
///
/// # Errors
/// When a frontend refuses: a syntax error, an unknown stage, a base image that cannot be resolved.
pub(crate) async fn ask(setting: &Setting, questions: &[Question]) -> anyhow::Result<Vec<Answer>> {
    let mut answers: Vec<Answer> = Vec::new();
    for question in questions {
        let mut options = question.options.clone();
        let mut inputs = HashMap::new();
        for (context, target) in &question.inputs {
            let position = questions.iter().position(|other| other.target == *target);
            let answer = position
                .and_then(|position| answers.get(position))
                .with_context(|| format!("target `{target}` does not come before `{}`", question.target))?;
            answer.give(context, &mut options, &mut inputs)?;
        }
        let once = || ask_one(setting, question, options.clone(), inputs.clone());
        let answer = patiently(setting, is_left_by_a_crash, once).await;
        let what = format!("could not make the build graph of target `{}`", question.target);
        answers.push(match answer {
            Err(error) if is_lost(&error) => return Err(error.context(what)),
            // A builder that is too old, a context with a policy: it is explained already.
            Err(error) if Failure::of(&error).is_some_and(|failure| failure.kind != Kind::Build) => return Err(error),
            Err(error) if is_denied(&error) => return Err(Failure::because(error, Kind::Build, what, DENIED)),
            Err(error) if is_surroundings(&error) => {
                let hint = "check the registries of the base images, the credentials and the disk, then run it again";
                let hint = fetch_remedy(&error).unwrap_or(hint);
                return Err(Failure::because(error, Kind::Environment, what, hint));
            }
            Err(error) => {
                let hint = "correct the Dockerfile or the build flags; `docker buildx build --call check` tells more";
                let hint = fetch_remedy(&error).unwrap_or(if is_download(question) { NO_GIT } else { hint });
                return Err(Failure::because(error, Kind::Build, what, hint));
            }
            Ok(answer) => answer,
        });
    }
    Ok(answers)
}

/// A definition without its empty parts and without what it was made from, which changes no cache key. An empty message
/// in a map goes over the wire as an absent one, and BuildKit makes a null pointer of that.
fn sendable(mut definition: pb::Definition) -> pb::Definition {
    definition.source = None;
    definition.metadata.retain(|_, metadata| *metadata != pb::OpMetadata::default());
    definition
}

/// Whether the context is downloaded as an archive, or as a Dockerfile.
fn is_download(question: &Question) -> bool {
    question.options.get("context").is_some_and(|url| {
        let path = url.split(['#', '?']).next().unwrap_or_default();
        url.starts_with("http") && !path.ends_with(".git")
    })
}

/// Reads from the answer to a file taken for a Dockerfile that there is none. No policy is a Dockerfile; a context that is one
/// itself has no other file.
fn is_absent(answer: anyhow::Result<()>, name: &str, target: &str) -> anyhow::Result<()> {
    let Err(error) = answer else { return Ok(()) };
    if format!("{error:#}").contains(&format!("open {name}: no such file or directory")) {
        return Ok(());
    }
    if is_lost(&error) || is_surroundings(&error) {
        return Err(error);
    }
    Err(source::has_policy(target, name))
}

async fn ask_one(
    setting: &Setting,
    question: &Question,
    options: HashMap<String, String>,
    inputs: HashMap<String, pb::Definition>,
) -> anyhow::Result<Answer> {
    let build = Build::start(setting, &question.session).await?;
    let (mut results, mut metadata) = build.frontend(FRONTEND, options.clone(), inputs.clone()).await?;
    if let Some(name) = &question.refused_with {
        let as_dockerfile = options.into_iter().chain([("filename".to_owned(), name.clone())]).collect();
        let answer = build.frontend(FRONTEND, as_dockerfile, inputs).await;
        is_absent(answer.map(drop), name, &question.target)?;
    }
    if setting.policy.is_some() {
        for definition in results.iter_mut().filter_map(|solved| solved.definition.as_mut()) {
            convert(&build, definition).await?;
        }
    }
    build.finish().await?;
    let mut made = |Solved { platform, definition }: Solved| {
        let config = match &platform {
            Some(platform) => metadata.remove(&format!("{IMAGE_CONFIG}/{platform}")),
            None => metadata.remove(IMAGE_CONFIG),
        };
        Made { platform, definition, config }
    };
    Ok(Answer { results: results.into_iter().map(&mut made).collect() })
}
