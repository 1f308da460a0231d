//! Whose fault it is that BuildKit could not do something, as far as its words tell: it has no codes for that.

use tonic::Code;

use crate::buildkit::refusal::Refusal;
use crate::buildkit::session::SessionEnded;

/// How every program calls `ENOSPC`.
const NO_SPACE: &str = "no space left on device";

/// What BuildKit, containerd and Go say when a registry, the network or the disk failed, rather than the build.
const SURROUNDINGS: [&str; 21] = [
    NO_SPACE,
    "read-only file system",
    "input/output error",
    "unexpected status",
    "failed to do request",
    "connection refused",
    "connection reset",
    "no such host",
    "i/o timeout",
    "TLS handshake",
    "deadline exceeded",
    "unexpected EOF",
    "broken pipe",
    "certificate",
    "failed to authorize",
    "failed to fetch oauth token",
    "could not fetch content descriptor",
    "failed commit on ref",
    "unexpected commit digest",
    "failed to resolve source metadata",
    "invalid response status",
];

/// How git, and a server that it asks, refuse somebody whom they do not know, or hide what they have from them.
const STRANGER: [&str; 6] = [
    "could not read Username",
    "could not read Password",
    "Authentication failed",
    "Permission denied (publickey",
    "Repository not found",
    "The requested URL returned error: 403",
];

/// How BuildKit says that git could not reach or read a repository, whatever git itself said of it: the oldest
/// do not quote that.
const NO_REPOSITORY: [&str; 3] = ["failed to fetch remote", "error fetching default branch", "git stderr"];

/// How Go says that somebody ended what was under way.
const CANCELLED: &str = "context canceled";

/// How BuildKit says that a step's process failed (`solver/llbsolver/ops/exec.go`).
const FAILED_STEP: &str = "did not complete successfully";

/// Whether an error says that a step's process failed.
pub(crate) fn is_failed_step(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains(FAILED_STEP)
}

/// Whether an error says no more than that somebody ended what was under way.
pub(super) fn is_cancelled(text: &str) -> bool {
    text.contains(CANCELLED)
}

/// Whether an error says that the context lacks a file that a step copies (`cache/contenthash/checksum.go` of BuildKit).
pub(super) fn is_missing_file(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("failed to calculate checksum of ref") && text.ends_with(": not found")
}

/// Whether a text blames a registry, the network or the disk.
pub(crate) fn blames_surroundings(text: &str) -> bool {
    // A failed command is quoted whole, and may say anything.
    !text.contains(FAILED_STEP) && SURROUNDINGS.iter().chain(&NO_REPOSITORY).any(|words| text.contains(words))
}

/// Whether an error's text, or the code BuildKit gave, blames a registry, the network or the disk.
pub(crate) fn is_surroundings(error: &anyhow::Error) -> bool {
    let codes = [Code::ResourceExhausted, Code::DeadlineExceeded, Code::PermissionDenied, Code::Unauthenticated];
    let refused = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<Refusal>().is_some_and(|refusal| codes.contains(&refusal.0.code()))
    };
    error.chain().any(refused) || blames_surroundings(&format!("{error:#}"))
}

/// Whether a disk is full. Of a daemon's error its text is all there is.
pub(crate) fn says_no_space(error: &anyhow::Error) -> bool {
    format!("{error:#}").to_lowercase().contains(NO_SPACE)
}

/// Whether a source policy denies a source (`sourcepolicy/engine.go` of BuildKit).
pub(super) fn is_denied(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("denied by policy")
}

/// What to do when BuildKit could not fetch what a URL names; none where that is not what went wrong.
pub(crate) fn fetch_remedy(error: &anyhow::Error) -> Option<&'static str> {
    let text = format!("{error:#}");
    let says = |words: &str| text.contains(words);
    if says("repository does not contain ref") || says("invalid subdir") {
        return Some("correct the revision or the directory in the URL: URL#REF:DIRECTORY");
    }
    if says("invalid response status") {
        return Some(
            "check the URL; a git repository's ends in .git, every other is downloaded as an archive or a file",
        );
    }
    if !NO_REPOSITORY.iter().any(|words| says(words)) {
        return None;
    }
    Some(match STRANGER.iter().any(|words| says(words)) {
        true => {
            "give the builder a token for the repository, --secret id=GIT_AUTH_TOKEN,env=VARIABLE (or \
             id=GIT_AUTH_TOKEN.HOST), or over ssh an agent that has the key, --ssh default; then check the address"
        }
        false => "check the address of the repository and the builder's network, then run it again",
    })
}

/// Whether what was downloaded is not what was asked for. BuildKit keeps it, and goes on from its end the next time.
pub(crate) fn is_spoilt_download(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("unexpected commit")
}

/// Whether the remains of a killed daemon were in the way. containerd moves a snapshot's directory to its place before
/// it notes the snapshot, so that a kill in between leaves a directory where the next snapshot belongs. The attempt that
/// fails on it also removes it (`createSnapshot` of its overlay snapshotter).
pub(crate) fn is_left_by_a_crash(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("failed to rename: rename ") && text.contains("file exists")
}

/// Whether it was the builder itself that went away, whatever it was asked for. The end of a session may be seen
/// before that of a call.
pub(crate) fn is_lost(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref::<Refusal>() {
        Some(refusal) => refusal.0.code() == Code::Unavailable || std::error::Error::source(refusal).is_some(),
        None => cause.is::<tonic::transport::Error>() || cause.is::<SessionEnded>(),
    })
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn a_full_disk_is_not_the_dockerfiles_fault() {
        let full = anyhow::Error::new(Refusal(Status::resource_exhausted("write /x: no space left on device")));
        let wrong =
            anyhow::Error::new(Refusal(Status::unknown("dockerfile parse error on line 1: unknown instruction: FORM")));
        assert_eq!((is_surroundings(&full), is_surroundings(&wrong)), (true, false));
        let left =
            anyhow::Error::new(Refusal(Status::unknown("failed to rename: rename /s/new-259 /s/6: file exists")));
        assert_eq!((is_left_by_a_crash(&left), is_left_by_a_crash(&wrong)), (true, false));
    }
}
