//! One build as CI would ask for it, whatever it was read from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What one `docker buildx build` would be given. Everything that can change a cache key is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its name: the bake target's, else the stage's, else `default`.
    pub(crate) name: String,
    /// The build context.
    pub(crate) context: Context,
    /// The Dockerfile.
    pub(crate) dockerfile: Dockerfile,
    /// The stage to build (`--target`); the last one when absent.
    pub(crate) stage: Option<String>,
    /// `--build-arg`.
    pub(crate) build_args: BTreeMap<String, String>,
    /// `--label`.
    pub(crate) labels: BTreeMap<String, String>,
    /// `--platform`; the builder's own when empty.
    pub(crate) platforms: Vec<String>,
    /// `--build-context NAME=…`.
    pub(crate) named_contexts: BTreeMap<String, NamedContext>,
    /// `--cache-from`, in order.
    pub(crate) donors: Vec<Donor>,
    /// `--secret`.
    pub(crate) secrets: Vec<SecretSource>,
    /// `--ssh`.
    pub(crate) ssh: Vec<SshAgent>,
    /// `--network`: `default`, `none` or `host`.
    pub(crate) network: Option<String>,
    /// `--shm-size`, in bytes.
    pub(crate) shm_size: Option<u64>,
    /// `--cgroup-parent`.
    pub(crate) cgroup_parent: Option<String>,
    /// `--ulimit`, each as docker writes it: `nofile=1024:2048`.
    pub(crate) ulimits: Vec<String>,
    /// `--add-host`: (host, address).
    pub(crate) extra_hosts: Vec<(String, String)>,
    /// `--no-cache`: every step always runs.
    pub(crate) no_cache: bool,
    /// `--no-cache-filter`: the stages that always run.
    pub(crate) no_cache_stages: Vec<String>,
    /// `--pull`: names of images are resolved at registries, also where the builder has images of its own.
    pub(crate) pulls: bool,
    /// `--policy`.
    pub(crate) policy: Policy,
    /// `--allow`: `network.host`, `security.insecure`, `device`.
    pub(crate) entitlements: Vec<String>,
}

impl Target {
    /// A target with only a name and a context; everything else as `docker build` defaults it.
    pub(crate) fn new(name: impl Into<String>, context: Context) -> Target {
        Target {
            name: name.into(),
            context,
            dockerfile: Dockerfile::Path(None),
            stage: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            named_contexts: BTreeMap::new(),
            donors: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            network: None,
            shm_size: None,
            cgroup_parent: None,
            ulimits: Vec::new(),
            extra_hosts: Vec::new(),
            no_cache: false,
            no_cache_stages: Vec::new(),
            pulls: false,
            policy: Policy::Beside,
            entitlements: Vec::new(),
        }
    }
}

/// By which policy in rego docker buildx refuses and exchanges sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The one that lies beside the Dockerfile, if there is one.
    Beside,
    /// Another one.
    Given,
    /// None.
    Off,
}

/// Where a build context comes from. A relative path is meant below the checkout, or below the
/// current directory when there is none; `source` makes it absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Context {
    /// A directory we send.
    Local(PathBuf),
    /// A git or http(s) URL that the builder fetches itself.
    Remote(String),
}

/// Where the Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dockerfile {
    /// A path as `-f` takes it; `Dockerfile` in the context when absent.
    Path(Option<PathBuf>),
    /// A path below the context, as bake writes it.
    InContext(PathBuf),
    /// Its text (bake's `dockerfile-inline`).
    Inline(String),
}

/// One `--build-context NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedContext {
    /// A directory we send.
    Local(PathBuf),
    /// `docker-image://REF`, kept without the scheme.
    Image(String),
    /// A git or http(s) URL that the builder fetches itself.
    Remote(String),
    /// `target:NAME`: the result of another target of the same run.
    Target(String),
}

/// Where a cache lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DonorKind {
    /// In a registry.
    Registry,
    /// In a directory of this machine.
    Local,
}

/// A cache a build imports from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Donor {
    /// Where it lies.
    pub(crate) kind: DonorKind,
    /// The reference, or the path of the directory, as it was given; may hold `{rev}`.
    pub(crate) reference: String,
    /// Further attributes, such as `registry.insecure` of `type=registry` and `tag` of `type=local`.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Donor {
    /// Whether BuildKit is told to trust its registry whatever it answers with.
    pub(crate) fn is_insecure(&self) -> bool {
        self.attributes.get("registry.insecure").is_some_and(|value| value == "true")
    }
}

/// One `--secret`: what the id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretSource {
    /// The id steps ask for.
    pub(crate) id: String,
    /// Where its bytes are.
    pub(crate) from: SecretOrigin,
}

/// Where a build secret's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SecretOrigin {
    /// A file.
    File(PathBuf),
    /// A variable of our environment.
    Env(String),
}

impl fmt::Display for SecretOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretOrigin::File(path) => path.display().fmt(f),
            SecretOrigin::Env(name) => f.write_str(name),
        }
    }
}

/// One `--ssh ID[=PATH[,PATH…]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SshAgent {
    /// The id steps ask for, `default` unless named.
    pub(crate) id: String,
    /// The agent's socket, or keys; that of `SSH_AUTH_SOCK` when empty.
    pub(crate) paths: Vec<PathBuf>,
}
