//! Why a donor cannot be used, whose move it is, and what to do: the one place that explains a registry's refusals.

use std::fmt;

use super::error::{Fault, RegistryError};
use super::probe::BUILDKIT_LIMIT;
use super::reference::Reference;
use crate::failure::{Failure, Kind};

/// Digests shown when many blobs are missing.
const SHOWN: usize = 3;

/// What is wrong with a donor, for those who decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// It is not a reference.
    BadReference,
    /// The registry does not have it.
    NotFound,
    /// The registry wants a login, or another one.
    Denied,
    /// The login was good once.
    Expired,
    /// Our credentials could not be had.
    Credentials,
    /// Too many requests.
    Throttled,
    /// No answer.
    Unreachable,
    /// The registry answers, and not sensibly.
    Server,
    /// It is there, and no cache.
    NotACache,
    /// BuildKit would not read its manifest.
    ManifestTooLarge,
    /// BuildKit would not read its config.
    ConfigTooLarge,
    /// BuildKit would not understand its manifest or config.
    Invalid,
    /// Blobs are gone.
    BlobsMissing,
    /// Whether its blobs are there could not be found out.
    BlobsUnchecked,
}

/// What is wrong with a donor, for those who read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// For deciding.
    pub(crate) kind: ProblemKind,
    /// What is wrong, without a full stop.
    pub(crate) what: String,
    /// Whose move it is and what to do: one sentence.
    pub(crate) remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Problem {
    /// The error to end a run with when `reference` cannot be done without.
    pub(crate) fn failure(&self, reference: &str) -> anyhow::Error {
        self.failure_with(reference, &self.remedy)
    }

    /// The same where another cache can be used.
    pub(crate) fn failure_beside_others(&self, reference: &str) -> anyhow::Error {
        self.failure_with(
            reference,
            &format!("{}; or pass --cache-optional, for another cache can be used", self.remedy),
        )
    }

    fn failure_with(&self, reference: &str, remedy: &str) -> anyhow::Error {
        let kind = if self.kind == ProblemKind::BadReference { Kind::Usage } else { Kind::Environment };
        Failure::new(kind, format!("cannot use the cache {reference}: {}", self.what), remedy)
    }

    fn new(kind: ProblemKind, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem { kind, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn bad_reference(why: &str) -> Problem {
        Problem::new(ProblemKind::BadReference, why, "write --cache-from as HOST/REPOSITORY:TAG")
    }

    pub(super) fn not_a_cache(why: &str) -> Problem {
        let remedy = "give --cache-from the reference CI writes with `--cache-to type=registry,mode=max,ref=…`";
        Problem::new(ProblemKind::NotACache, format!("it is not a build cache: {why}"), remedy)
    }

    pub(super) fn too_large(kind: ProblemKind, size: u64) -> Problem {
        let part = if kind == ProblemKind::ManifestTooLarge { "manifest" } else { "config" };
        Problem::new(
            kind,
            format!("its {part} has {size} bytes, and BuildKit imports none over {BUILDKIT_LIMIT}"),
            "have CI export a smaller cache: one reference per target, or fewer stages in each",
        )
    }

    pub(super) fn invalid(why: &str) -> Problem {
        Problem::new(ProblemKind::Invalid, format!("BuildKit cannot read it: {why}"), "have CI export the cache again")
    }

    /// Of a directory.
    pub(super) fn no_layout(why: &str) -> Problem {
        let remedy =
            "give type=local,src=DIR the directory that CI writes with `--cache-to type=local,mode=max,dest=DIR`";
        Problem::new(ProblemKind::NotFound, format!("there is no cache in it: {why}"), remedy)
    }

    pub(super) fn missing(digests: &[String], of: usize, host: &str) -> Problem {
        let shown = digests.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if digests.len() > SHOWN { ", …" } else { "" };
        Problem::new(
            ProblemKind::BlobsMissing,
            format!("{} of its {of} blobs are gone from {host}: {shown}{more}", digests.len()),
            "have CI export the cache again, and keep the registry's clean-up away from it",
        )
    }

    pub(super) fn unchecked(error: &RegistryError, reference: &Reference, digest: &str) -> Problem {
        let problem = Problem::of(error, reference, &format!("blob {digest}"));
        match problem.kind {
            ProblemKind::Denied | ProblemKind::Expired | ProblemKind::Throttled | ProblemKind::Credentials => problem,
            _ => Problem {
                kind: ProblemKind::BlobsUnchecked,
                what: format!("could not find out whether blob {digest} is there: {error}"),
                ..problem
            },
        }
    }

    /// What `error` means for `reference`, when asking for `wanted`.
    pub(super) fn of(error: &RegistryError, reference: &Reference, wanted: &str) -> Problem {
        let (host, repository) = (&error.host, reference.repository());
        match &error.fault {
            Fault::NotFound { .. } => Problem::new(
                ProblemKind::NotFound,
                format!("`{repository}` does not have {wanted}: {error}"),
                "check the reference, or have CI export the cache first (`--cache-to type=registry,mode=max,ref=…`)",
            ),
            Fault::Denied { expired: true, .. } => Problem::new(
                ProblemKind::Expired,
                format!("the login for {host} has expired: {error}"),
                format!("log in to {host} again; for ECR, give this machine AWS credentials instead of a stored login"),
            ),
            Fault::Denied { anonymous: true, .. } => Problem::new(
                ProblemKind::Denied,
                format!("{host} does not show `{repository}` to strangers, and there is no login for it: {error}"),
                format!("run `docker login {host}`, or point DOCKER_CONFIG at the folder that has the login"),
            ),
            Fault::Denied { status: 401, .. } => Problem::new(
                ProblemKind::Denied,
                format!("{host} does not accept the login we have: {error}"),
                format!("run `docker login {host}` again; for ECR, check whose credentials --aws-profile names"),
            ),
            Fault::Denied { .. } => Problem::new(
                ProblemKind::Denied,
                format!("{host} does not give `{repository}` to the login we have: {error}"),
                "let its owner allow pulling (for ECR: ecr:BatchGetImage and ecr:GetDownloadUrlForLayer on the \
                 repository), or log in as someone who may",
            ),
            Fault::Credentials(cause) => {
                let hint = Failure::of(cause).map(|failure| failure.hint.clone());
                let hint = hint.unwrap_or_else(|| format!("run `docker login {host}`"));
                Problem::new(ProblemKind::Credentials, error.to_string(), hint)
            }
            Fault::TooManyRequests { .. } => Problem::new(
                ProblemKind::Throttled,
                format!("{host} lets us ask no more for now: {error}"),
                "try again in a few minutes, or start fewer builders at the same moment",
            ),
            Fault::Unreachable { speaks_no_tls: true, .. } => Problem::new(
                ProblemKind::Unreachable,
                format!("{host} speaks no TLS: {error}"),
                format!(
                    "if that is meant, write `http = true` under `[registry.\"{0}\"]` in /etc/buildkit/buildkitd.toml, or in \
                     the file of --buildkitd-config; for dockerd name {0} in its `insecure-registries`",
                    reference.host()
                ),
            ),
            Fault::Unreachable { .. } => Problem::new(
                ProblemKind::Unreachable,
                error.to_string(),
                format!(
                    "check that {host} is up and reachable from here: name, route, proxy, firewall, and \
                     `[registry.\"{0}\"]` in buildkitd.toml; for dockerd /etc/docker/certs.d/{0}",
                    reference.host()
                ),
            ),
            Fault::Setup(_) => Problem::new(
                ProblemKind::Unreachable,
                error.to_string(),
                format!("repair `[registry.\"{}\"]` in buildkitd.toml", reference.host()),
            ),
            Fault::Server { .. } | Fault::Refused { .. } | Fault::Corrupt { .. } | Fault::TooLarge { .. } => {
                Problem::new(
                    ProblemKind::Server,
                    format!("{host} fails to serve {wanted}: {error}"),
                    format!("try again later, and ask whoever runs {host} if it stays"),
                )
            }
        }
    }
}
