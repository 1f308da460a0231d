//! What BuildKit calls vertices: the one place that reads its English.
//!
//! Source: `frontend/dockerfile/dockerfile2llb/convert.go`, `frontend/dockerui`, `cache/remotecache/import.go` and
//! `source/*/source.go` of BuildKit.

/// Whether a vertex of this name is the frontend's own, and no line of a Dockerfile.
pub(crate) fn is_internal(name: &str) -> bool {
    name.starts_with("[internal]")
}

/// The cache source whose import is a vertex of this name.
pub(super) fn imported_from(name: &str) -> Option<&str> {
    name.strip_prefix("importing cache manifest from ")
}

/// The image whose name a vertex of this name resolves at its registry.
pub(crate) fn resolved_image(name: &str) -> Option<&str> {
    let prefixes = ["[internal] load metadata for ", "resolve image config for docker-image://"];
    prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// The stage of a step, as its name tells: `build` for `[build 2/4] RUN make`, also behind a platform.
pub(super) fn stage(name: &str) -> Option<&str> {
    let (label, _) = name.strip_prefix('[')?.split_once(']')?;
    let mut words = label.split_whitespace().rev();
    let counter = words.next()?;
    counter.split_once('/')?;
    words.next().filter(|word| *word != "internal" && !word.contains('/'))
}

/// Whether a vertex of this name, one without inputs, fetches a git repository or a file over HTTP. BuildKit tells no
/// progress of either, however long that takes.
pub(super) fn fetches_in_silence(name: &str) -> bool {
    const CONTEXTS: [&str; 2] = ["[internal] load git source ", "[internal] load remote build context"];
    const SOURCES: [&str; 3] = ["git://", "http://", "https://"];
    let line = || Some(name.strip_prefix('[')?.split_once("] ")?.1);
    CONTEXTS.iter().chain(&SOURCES).any(|prefix| name.starts_with(prefix))
        || line().is_some_and(|line| line.starts_with("ADD "))
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
    fn only_files_and_repositories_are_fetched_in_silence() {
        for (name, expected) in [
            ("[build 2/4] ADD https://example.com/a.tar /a", true),
            ("[2/4] ADD --checksum=sha256:1 git@example.com:a/b.git /a", true),
            ("[internal] load git source https://example.com/a.git#main", true),
            ("[internal] load remote build context", true),
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
