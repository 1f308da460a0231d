//! What BuildKit calls what it does: the one place that reads the English of its names. That of its errors is read in
//! `blame`.
//!
//! Source: `frontend/dockerfile/dockerfile2llb/convert.go`, `frontend/dockerui`, `cache/remotecache/import.go`,
//! `cache/refs.go`, `solver/llbsolver/bridge.go` and `source/*/source.go` of BuildKit.

/// Whether a vertex of this name is the frontend's own, and no line of a Dockerfile.
pub(crate) fn is_internal(name: &str) -> bool {
    internal(name).is_some()
}

/// What the frontend does in a vertex of its own: `[internal] load …`, with a platform where several are built for.
fn internal(name: &str) -> Option<&str> {
    let (label, what) = name.strip_prefix('[')?.split_once("] ")?;
    (label.split_whitespace().next_back() == Some("internal")).then_some(what)
}

/// The cache source whose import is a vertex of this name.
pub(super) fn imported_from(name: &str) -> Option<&str> {
    name.strip_prefix("importing cache manifest from ")
}

/// The image whose name a vertex of this name resolves at its registry.
pub(crate) fn resolved_image(name: &str) -> Option<&str> {
    let frontend = || name.strip_prefix("resolve image config for ");
    // The oldest say no scheme.
    let frontend = || frontend().map(|image| fetched_image(image).unwrap_or(image));
    internal(name).and_then(|what| what.strip_prefix("load metadata for ")).or_else(frontend)
}

/// The image that a vertex of this name fetches: one that no line of a Dockerfile says is built on, as a frontend's.
pub(crate) fn fetched_image(name: &str) -> Option<&str> {
    name.strip_prefix("docker-image://")
}

/// Whether a vertex of this name fetches the git repository that is a build's context.
pub(crate) fn fetches_git_context(name: &str) -> bool {
    internal(name).is_some_and(|what| what.starts_with("load git source "))
}

/// Whether a record of this description is a copy of a directory of ours.
pub(crate) fn is_copy_of_directory(description: &str) -> bool {
    description.starts_with("local source for ")
}

/// The name of a step as the Dockerfile frontend writes it, in two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label<'n> {
    /// Stage and platform, without the count: `linux/arm64 build`; empty where the name tells none.
    pub(crate) stage: &'n str,
    /// The line: `RUN make`.
    pub(crate) line: &'n str,
}

impl Label<'_> {
    /// Of a name.
    pub(crate) fn of(name: &str) -> Label<'_> {
        let whole = Label { stage: "", line: name };
        let Some((label, line)) = name.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return whole };
        let (stage, count) = label.rsplit_once(' ').unwrap_or(("", label));
        if !count.contains('/') {
            return whole;
        }
        Label { stage: stage.trim(), line: line.trim_start() }
    }
}

/// The stage of a step, as its name tells: `build` for `[build 2/4] RUN make`, also behind a platform.
pub(super) fn stage(name: &str) -> Option<&str> {
    Label::of(name).stage.split_whitespace().next_back().filter(|word| !word.contains('/'))
}

/// What a vertex is at, as the status of it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing<'i> {
    /// A layer is unpacked: its blob.
    Unpacking(&'i str),
    /// A blob is on its way: its digest.
    Fetching(&'i str),
    /// A layer is fetched and unpacked, and no bytes are told, as by a dockerd without containerd's image store: its blob.
    Pulling(&'i str),
    /// A directory of ours is sent: its name.
    Sending(&'i str),
    /// It resolves a name, or exports.
    Else,
}

/// What the status of this id tells of.
pub(super) fn doing(id: &str) -> Doing<'_> {
    let sending = || Some(id.strip_prefix("transferring ")?.trim_end_matches(':'));
    match (id.strip_prefix("extracting "), sending()) {
        (Some(blob), _) => Doing::Unpacking(blob),
        (_, Some(name)) => Doing::Sending(name),
        _ if id.starts_with("sha256:") => Doing::Fetching(id),
        _ => id.strip_prefix("pulling ").map_or(Doing::Else, Doing::Pulling),
    }
}

/// Whether a vertex of this name, one without inputs, fetches a git repository or a file over HTTP. BuildKit tells no
/// progress of either, however long that takes.
pub(super) fn fetches_in_silence(name: &str) -> bool {
    // The oldest say no more of an ADD than its source.
    const SOURCES: [&str; 3] = ["git://", "http://", "https://"];
    let is_download = || internal(name).is_some_and(|what| what.starts_with("load remote build context"));
    fetches_git_context(name)
        || is_download()
        || SOURCES.iter().any(|scheme| name.starts_with(scheme))
        || Label::of(name).line.starts_with("ADD ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_what_stands_before_the_counter() {
        for (name, expected) in [
            ("[build 2/4] RUN make", Some("build")),
            ("[linux/arm64 build 2/4] RUN make", Some("build")),
            ("[2/4] RUN make", None),
            ("[linux/arm64 2/4] RUN make", None),
            ("[internal] load build context", None),
            ("[auth] team/sample:pull token for registry", None),
        ] {
            assert_eq!(stage(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_a_stage_and_a_line() {
        let label = |name| (Label::of(name).stage, Label::of(name).line);
        assert_eq!(label("[build 2/4] RUN make"), ("build", "RUN make"));
        assert_eq!(label("[linux/arm64 build  2/4] RUN [ -f x ]"), ("linux/arm64 build", "RUN [ -f x ]"));
        assert_eq!(label("[2/3] COPY a b"), ("", "COPY a b"));
        assert_eq!(label("[internal] load"), ("", "[internal] load"));
        assert_eq!(label("merge (a, b)"), ("", "merge (a, b)"));
        assert_eq!(label("[unclosed"), ("", "[unclosed"));
    }

    #[test]
    fn only_files_and_repositories_are_fetched_in_silence() {
        for (name, expected) in [
            ("[build 2/4] ADD https://example.com/a.tar /a", true),
            ("[2/4] ADD --checksum=sha256:1 git@example.com:a/b.git /a", true),
            ("[internal] load git source https://example.com/a.git#main", true),
            ("[internal] load remote build context", true),
            ("[internal] load metadata for example.com/ADD ", false),
            ("https://example.com/a.tar", true),
            ("[1/2] FROM docker.io/library/busybox", false),
            ("[internal] load metadata for docker.io/library/ADD:latest", false),
            ("[internal] load build context", false),
            ("importing cache manifest from example.com/a:b", false),
            ("docker-image://example.com/a", false),
        ] {
            assert_eq!(fetches_in_silence(name), expected, "{name}");
        }
    }
}
