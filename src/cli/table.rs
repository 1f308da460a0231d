//! Every setting, once: its flag, and so its variable and its key in the settings file; what a checkout may say of it; its
//! help and its default.
//!
//! To add a setting, add its row here, and a field to the command's job, which the file of the command fills.

use super::setting::Leave::{Any, InRegistry, Inside, Json, Nothing, Only, WithValue, WithoutFile};
use super::setting::Separator::{Comma, CommaUnlessAttributes, Line};
use super::setting::{Setting, count, list, switch, text};
use crate::buildkit::USUAL_ROOT;
use crate::manifest;

/// Settings that stand together in the help: their heading, if they have one.
type Group = (Option<&'static str>, &'static [Setting]);

/// The commands that have settings.
#[rustfmt::skip]
pub(crate) const COMMANDS: [(&str, &[Group]); 4] = [
    ("warm", &[
        (Some("Source"), SOURCE), (Some("Build"), BUILD), (Some("Cache sources"), CACHES), (Some("Cache sources"), AWS),
        (Some("Builder"), BUILDER), (Some("Builder"), TLS), (Some("Behavior"), BEHAVIOR), (Some("Output"), OUTPUT),
    ]),
    ("smoke", &[
        (Some("Source"), SOURCE), (Some("Build"), BUILD), (None, AWS), (None, SMOKE), (Some("Builder"), TLS),
        (Some("Output"), OUTPUT),
    ]),
    ("check", &[(None, CHECK), (None, AWS), (Some("Output"), OUTPUT)]),
    ("seal", &[(None, SEAL), (Some("Output"), OUTPUT)]),
];

/// A setting of a command, or of another one: one file, and one environment, serve them all.
pub(crate) fn find(command: &str, name: &str) -> Option<&'static Setting> {
    let others = COMMANDS.iter().flat_map(|(other, _)| settings_of(other));
    settings_of(command).chain(others).find(|setting| setting.name == name)
}

/// The settings of a command, global ones included.
pub(crate) fn settings_of(command: &str) -> impl Iterator<Item = &'static Setting> {
    let own = COMMANDS.iter().find(|(name, _)| *name == command).map_or(&[][..], |(_, groups)| groups);
    GLOBAL.iter().chain(own.iter().flat_map(|(_, settings)| settings.iter()))
}

/// The names of all settings, which a settings file may hold as keys.
pub(crate) fn keys() -> Vec<&'static str> {
    let all = COMMANDS.iter().flat_map(|(command, _)| settings_of(command));
    let mut names: Vec<_> = all.map(|setting| setting.name).filter(|name| *name != "config").collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Of every command.
#[rustfmt::skip]
pub(crate) const GLOBAL: &[Setting] = &[
    text("config", "FILE", Nothing,
        "Settings file [default: ./cachewarm.toml if it is there and only you can write it; it then names no \
         program, builder, secret or file to write]"),
    count("verbose", Any,
        "Say more about what is done; twice or three times for more still. CACHEWARM_LOG takes a filter instead")
        .letter('v'),
    switch("quiet", Any, "No progress, only warnings and errors; the same as --progress quiet").letter('q'),
];

/// Where the source comes from.
#[rustfmt::skip]
const SOURCE: &[Setting] = &[
    text("repo", "URL", Nothing,
        "Git repository to clone, https or ssh. A token for https comes from CACHEWARM_GIT_TOKEN (or \
         GIT_AUTH_TOKEN), with the user of the URL, or from git's helpers"),
    text("rev", "REV", Any, "Branch, tag or commit of --repo; the remote's HEAD when absent"),
    switch("submodules", Any, "Check out the submodules of --repo as well"),
    text("context", "DIR|URL", Inside,
        "Build context: a directory, with --repo one of the checkout; or a URL that the builder fetches itself, \
         for which a token is the secret GIT_AUTH_TOKEN (--secret id=GIT_AUTH_TOKEN,env=VARIABLE)"),
    text("modes", "git|disk|umask=NNN", Any,
        "Modes of the files: disk, as they are there; git, as git checks out under umask 022; umask=NNN, under \
         another one, as GitLab's runner does under umask=000. When absent, git with --repo, and disk with a \
         directory"),
];

/// What is built, in docker's spelling.
#[rustfmt::skip]
const BUILD: &[Setting] = &[
    text("file", "PATH", Inside,
        "Dockerfile, relative to the current directory, or with --repo to the checkout; Dockerfile in the context \
         when absent").letter('f'),
    list("target", "STAGE", Comma, Any,
        "Stage to build, the last one when absent; repeat it for several builds of the same source"),
    list("build-arg", "K[=V]", Line, WithValue,
        "Build argument; K alone takes its value from the environment. Repeatable"),
    list("public", "NAME", Comma, Nothing,
        "Build argument whose value is no secret, though its name looks like one: it is shown, and not searched \
         for. Repeatable"),
    list("platform", "PLATFORM", Comma, Any,
        "Platform, such as linux/arm64; the builder's own when absent. Repeatable"),
    list("build-context", "NAME=VALUE", Line, Nothing,
        "Further build context: a directory, docker-image://REF or a URL. Repeatable"),
    list("secret", "SPEC", Line, Nothing, "Build secret: id=ID,src=FILE or id=ID,env=VARIABLE. Repeatable"),
    list("ssh", "default|ID[=SOCKET|KEY,…]", Line, Nothing,
        "SSH agent for the build: SSH_AUTH_SOCK, another socket, or keys without a passphrase, by their files. \
         Repeatable"),
    list("add-host", "HOST:ADDRESS", Comma, Any, "Entry for /etc/hosts of the steps. Repeatable"),
    text("network", "MODE", Only(&["default", "none"]), "Network of the steps").of(&["default", "none", "host"]),
    text("shm-size", "SIZE", Any, "Size of /dev/shm in the steps, such as 64m"),
    list("ulimit", "NAME=SOFT[:HARD]", Comma, Any, "Resource limit of the steps, such as nofile=1024:2048. Repeatable"),
    list("label", "K[=V]", Line, WithValue, "Label of the image. Repeatable"),
    switch("no-cache", Any, "Use no cache at all: every step runs"),
    list("no-cache-filter", "STAGE", Comma, Any, "Stage whose steps always run. Repeatable"),
    list("allow", "ENTITLEMENT", Comma, Nothing,
        "Entitlement the build needs: network.host, security.insecure or device; and what a bake file may use \
         outside of its project: ssh, fs.read=PATH or fs=PATH. Repeatable"),
    text("source-policy", "FILE", Nothing,
        "Source policy by which BuildKit refuses and exchanges sources, in JSON or protobuf; that of \
         EXPERIMENTAL_BUILDKIT_SOURCE_POLICY when absent, as docker buildx has it"),
    text("policy", "disabled=true", Nothing,
        "Build without the policy that docker buildx finds beside the Dockerfile (Dockerfile.rego) or in a bake file. buildx \
         alone evaluates those, so that a build with one is refused").of(&["disabled=true"]),
    list("bake", "FILE", Line, Json,
        "Builds as `docker buildx bake --print` wrote them; what it did not write (HCL, compose, variables, templates) and \
         several files are resolved by the docker buildx that is installed. Of the flags above only --no-cache, \
         --allow, --secret, --ssh, --source-policy and --policy go with it. Repeatable"),
    list("bake-target", "NAME", Comma, Any, "Target or group of --bake; its default group when absent. Repeatable"),
    list("path-map", "FROM=TO", Line, Nothing,
        "Where a directory of the machine that wrote --bake is here, relative to the checkout: /builds/app=. \
         Repeatable"),
];

/// The caches.
#[rustfmt::skip]
const CACHES: &[Setting] = &[
    list("cache-from", "REF", CommaUnlessAttributes, InRegistry,
        "Cache to import from: REF or type=registry,ref=REF in a registry, or type=local,src=DIR; {rev} in it becomes \
         the commit. In order, repeatable; replaces those of --bake"),
    switch("cache-optional", Any,
        "A cache that cannot be used is only a warning as long as another one works. One that is absent is no more \
         than that anyway"),
    switch("donor-optional", Any, "The name of --cache-optional in earlier versions").hidden(),
];

/// Who we are to ECR.
#[rustfmt::skip]
const AWS: &[Setting] = &[
    text("aws-profile", "NAME", Nothing, "AWS profile for ECR; the default provider chain when absent"),
    text("aws-region", "REGION", Nothing, "AWS region for ECR; the one in the registry's name when absent"),
];

/// The builder, and the container that docker-container:// has to create.
#[rustfmt::skip]
const BUILDER: &[Setting] = &[
    text("builder", "ADDRESS", Nothing,
        "Builder: auto, unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, buildx://NAME, spawn or \
         spawn:/PATH/TO/buildkitd; or one that another program leads to: ssh://[USER@]HOST[:PORT][/SOCKET], \
         podman-container://NAME, nerdctl-container://NAME?namespace=…, \
         kube-pod://NAME?context=…&namespace=…&container=…. auto takes BUILDKIT_HOST, then the builder chosen in docker buildx, then \
         /run/buildkit/buildkitd.sock, then spawn, then docker; with --root, BUILDKIT_HOST, then spawn, then a \
         container of Docker").or("auto"),
    text("root", "DIR", Nothing, "State root; what the builder says when absent, else /var/lib/buildkit"),
    text("buildkitd-config", "FILE", Nothing,
        "buildkitd.toml for a daemon or container we start; its registry hosts count for cache sources too. \
         /etc/buildkit/buildkitd.toml where there is one, but not in a container"),
    text("buildkit-image", "REF", Nothing,
        "Image of a container that docker-container:// creates; pulled when it is not there")
        .or("moby/buildkit:buildx-stable-1"),
    text("builder-restart", "POLICY", Nothing,
        "When Docker starts that container again: no, always, unless-stopped, on-failure or on-failure:TIMES").or("no"),
    switch("keep-builder", Nothing,
        "Let that container stay, and run; it then collects garbage as its configuration says"),
];

/// TLS with a builder on TCP; any of these asks for it.
#[rustfmt::skip]
const TLS: &[Setting] = &[
    text("tlscacert", "FILE", Nothing,
        "Authority of the builder's certificate, for tcp://; the system's ones when absent"),
    text("tlscert", "FILE", Nothing, "Our certificate, for tcp://"),
    text("tlskey", "FILE", Nothing, "Key of our certificate"),
    text("tlsservername", "NAME", Nothing, "Name in the builder's certificate, where it is not the host's"),
    switch("insecure-tcp", Nothing, "Let tcp:// do without TLS beyond this machine"),
];

/// What `warm` does when.
#[rustfmt::skip]
const BEHAVIOR: &[Setting] = &[
    text("on-miss", "WHAT", Only(&["fail"]),
        "What a step does that no cache has: run it, or fail without running any").or("run").of(&["run", "fail"]),
    text("min-hit-rate", "SHARE", Nothing,
        "Least share of steps, 0 to 1, that a cache must have. When absent, at least one step where --cache-from \
         is given; 0 accepts that none is found. It is about steps only: a layer that is missing on disk is never \
         warm"),
    text("fetch", "WHO", Only(&["builder"]),
        "Who fetches layers: builder, or with auto cachewarm, in parallel parts, into the builder's own store where \
         that is on this machine").or("builder").of(&["auto", "builder"]),
    text("fetch-connections", "NUMBER", Any, "Connections that cachewarm fetches layers over").or("16"),
    text("stall-timeout", "DURATION", Any,
        "No progress of a download for this long cancels and retries: 60s, 5m. Steps, ADD and git take their time")
        .or("60s"),
    text("step-timeout", "DURATION", Any, "A step, or an ADD, that takes longer ends the run: 30m"),
    switch("prove", Only(&["true", "disk"]),
        "Have BuildKit build again on a shadow root, without cache sources; with --builder spawn it does anyway. A \
         builder whose disk nobody can read is asked again itself, which is enough unless --prove=disk demands the \
         disk").called("BOOL|disk"),
    text("manifest", "FILE", Nothing,
        "Where the manifest of the run goes; `none` writes none").or(manifest::USUAL),
];

/// Of `smoke` alone.
#[rustfmt::skip]
const SMOKE: &[Setting] = &[
    text("root", "DIR", Nothing,
        "State root to look at, /var/lib/buildkit unless the builder says more; a daemon may be using it"),
    text("builder", "ADDRESS", Nothing,
        "spawn or spawn:/PATH/TO/buildkitd, which is started on a shadow of the root; or the builder that is asked \
         about: unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, buildx://NAME, ssh://HOST and the like. \
         Where its root cannot be read, it is asked itself, and stopped as soon as it begins a step or a large download. auto is spawn \
         where a root is, at --root or /var/lib/buildkit, else the builder that warm takes").or("auto"),
    text("buildkitd-config", "FILE", Nothing,
        "buildkitd.toml of the daemon that will use the root, for its registry hosts; /etc/buildkit/buildkitd.toml \
         where there is one"),
    text("min-hit-rate", "SHARE", Nothing,
        "Least share of steps, 0 to 1, that the root must have. It is about steps only: a base image that the \
         build would fetch is never warm").or("1"),
    text("manifest", "FILE", Nothing,
        "Manifest of the warm run that made the root, which tells why a step misses; the usual one when absent, if \
         it is there, and `none` uses none"),
    text("stall-timeout", "DURATION", Any, "No progress of a download for this long ends it: 60s, 5m").or("60s"),
];

/// Of `check` alone.
#[rustfmt::skip]
const CHECK: &[Setting] = &[
    text("root", "DIR", Nothing, "State root, a copy of one, or that of a daemon that runs").or(USUAL_ROOT),
    text("manifest", "FILE", Nothing, "Manifest of a warm run: is everything it promises there?"),
    list("cache-from", "REF", CommaUnlessAttributes, InRegistry,
        "Cache to hold the root against, layer by layer: REF or type=registry,ref=REF in a registry, or \
         type=local,src=DIR. Repeatable"),
    switch("deep", Any,
        "Read everything: hash the blobs, count the files of the snapshots, compare them with those in the blobs"),
    list("require", "WHAT=SHARE", Comma, Nothing,
        "Least share for a verdict of warm: extracted=95%. Of the layers with results: extracted (100% unless \
         given), survives (a restart), kept (by the first garbage collection, 100%), reused (by builds that import a \
         cache, 100% with --used-by or the --manifest of a run with caches); of the layers of --cache-from: donor (100%); of those of --manifest: manifest (100%). Repeatable"),
    text("used-by", "VERSION|PATH", Nothing,
        "BuildKit that will use the root, by its version (v0.34.2) or the path of its buildkitd: says which layers it \
         finds when it imports a cache, and which it unpacks again. When absent, the buildkitd in PATH is assumed, the \
         daemon at the usual socket, or the one of the manifest"),
    text("buildkitd-config", "FILE", Nothing,
        "buildkitd.toml of the daemon that will use the root, for its garbage collection and its registry hosts; \
         the usual one when absent, if it is there"),
];

/// Of `seal` alone.
#[rustfmt::skip]
const SEAL: &[Setting] = &[
    text("root", "DIR", Nothing,
        "State root that becomes part of the image; no daemon may hold it").or(USUAL_ROOT),
    text("manifest", "FILE", Nothing,
        "Manifest of the warm run that made the root: is everything it promises there? The usual one when absent, \
         if it is there, and `none` uses none"),
    switch("fix", Nothing,
        "Clean the state root: BuildKit's history and copies of directories, leftovers, stale bytes in databases. \
         Nothing else on the machine is changed"),
    text("builder", "ADDRESS", Nothing,
        "spawn or spawn:/PATH/TO/buildkitd, which is started on the root to forget what only BuildKit can").or("spawn"),
    text("buildkitd-config", "FILE", Nothing,
        "buildkitd.toml of the daemon that will use the root, for its garbage collection; the usual one when \
         absent, if it is there"),
    text("system", "DIR", Nothing,
        "Where the file system of the machine is mounted that becomes an image; `none` looks at the state root \
         alone").or("/"),
    list("ignore", "PATH", Line, Nothing, "File or directory that is not searched for secrets. Repeatable"),
    list("secret", "SPEC", Line, Nothing,
        "Secret that must be nowhere, as the build was given it: id=ID,src=FILE or id=ID,env=VARIABLE. Repeatable"),
    list("build-arg", "K[=V]", Line, WithValue,
        "Build argument as the build was given it: its value must be nowhere if its name is that of a secret. \
         Repeatable"),
    list("public", "NAME", Comma, Nothing,
        "Build argument whose value is no secret, though its name looks like one: it is shown, and not searched \
         for. Repeatable"),
    list("bake", "FILE.json", Line, Json,
        "Builds that were warmed, as `docker buildx bake --print` wrote them: their build arguments and secrets \
         count as if they were given"),
    list("bake-target", "NAME", Comma, Any, "Target or group of --bake; its default group when absent. Repeatable"),
    text("cache-mounts", "WHAT", Nothing,
        "What --fix does with what `RUN --mount=type=cache` has kept").or("keep").of(&["keep", "drop"]),
    list("require", "WHAT=SHARE", Comma, Nothing,
        "Least share for what is in the root, as in check: extracted=95%. Repeatable"),
    text("marker", "FILE", Nothing,
        "Where it is written down that the machine is sealed; `none` writes nothing")
        .or("/var/lib/cachewarm/sealed.json"),
];

/// What people and machines see.
#[rustfmt::skip]
const OUTPUT: &[Setting] = &[
    text("progress", "MODE", Any,
        "How progress is shown on standard error; auto is tty on a terminal, else plain")
        .or("auto").of(&["auto", "tty", "plain", "json", "quiet"]),
    list("report", "FORMAT[=FILE]", Comma, WithoutFile,
        "Report as text, json, markdown or prometheus, on standard output unless FILE is given. An old FILE is \
         removed when the run begins and written when it ends with a verdict. Repeatable").or("text"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_setting_takes_is_the_same_for_every_command() {
        for (command, _) in COMMANDS {
            for setting in settings_of(command) {
                let first = find("", setting.name).expect("there is one");
                assert_eq!(
                    (setting.kind, setting.checkout),
                    (first.kind, first.checkout),
                    "{command} {}",
                    setting.name
                );
            }
        }
    }
}
