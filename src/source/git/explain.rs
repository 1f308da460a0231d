//! What went wrong at a repository, in words with a remedy.

use git2::{ErrorClass, ErrorCode};

use super::address::Address;
use super::credentials::Attempt;
use crate::failure::{Explain, Failure, Kind};

/// What to do about a full disk.
const SPACE: &str = "make room there, or set TMPDIR to a directory that has some";

/// How many similar names an unknown revision is answered with.
const SUGGESTIONS: usize = 5;

/// Explains an error of libgit2; `presented` is what the server was shown before.
pub(super) fn explained(error: &git2::Error, address: &Address, presented: &[Attempt]) -> anyhow::Error {
    let shown = address.shown();
    let message = address.redacted(error.message());
    let says = |needle: &str| message.to_lowercase().contains(needle);
    let refused = error.code() == ErrorCode::Auth || says("authentication") || says("401") || says("403");
    let (what, hint) = if refused && !presented.is_empty() {
        let mut names: Vec<&str> = presented.iter().map(|attempt| attempt.name()).collect();
        names.dedup();
        let mut hint =
            "check that they are valid and may read the repository, for example with `git ls-remote`".to_owned();
        let shows_token = presented.iter().any(|attempt| matches!(attempt, Attempt::Token(_)));
        if shows_token && address.user.is_none() {
            hint.push_str("; a token that goes with a user of its own (a deploy token, a robot) needs that in the URL, https://USER@…");
        }
        (format!("{shown} refused the credentials it was shown ({})", names.join(", ")), hint)
    } else if refused && address.is_ssh() {
        (format!("{shown} needs an ssh key"), "load one with `ssh-add`, and pass SSH_AUTH_SOCK on".to_owned())
    } else if refused {
        let hint = "set CACHEWARM_GIT_TOKEN, or configure a git credential helper for this host";
        (format!("{shown} needs credentials"), hint.to_owned())
    } else if error.code() == ErrorCode::Certificate || error.class() == ErrorClass::Ssl || says("hostkey") {
        let hint = match address.is_ssh() {
            true => "add the host's key to ~/.ssh/known_hosts",
            false => "install the certificate authority of that host in the system's trust store",
        };
        (format!("could not trust {shown}"), hint.to_owned())
    } else if error.code() == ErrorCode::Owner {
        let hint = format!("run `git config --global --add safe.directory {shown}` if you trust it");
        (format!("git does not trust {shown}, because another user owns it"), hint)
    } else if says("no space left") {
        (format!("there is no room for a clone of {shown}"), SPACE.to_owned())
    } else if (address.is_local() && says("unsupported url protocol"))
        || says("404")
        || (error.code() == ErrorCode::NotFound && !says("resolve"))
        || says("not found")
    {
        let hint = "check the URL; a private repository looks the same without credentials (CACHEWARM_GIT_TOKEN)";
        (format!("there is no git repository at {shown}"), hint.to_owned())
    } else {
        (
            format!("could not fetch from {shown}"),
            format!("check the address and the network with `git ls-remote {shown}`"),
        )
    };
    wrapped(anyhow::anyhow!("{message}"), what, hint)
}

/// Explains an error that came while files were written; `what` is being checked out.
pub(super) fn not_written(error: git2::Error, what: String) -> anyhow::Error {
    let hint = match error.class() {
        ErrorClass::Os | ErrorClass::Filesystem => SPACE,
        _ => "check the repository with `git clone` and `git fsck`",
    };
    wrapped(error.into(), format!("could not check out {what}"), hint.to_owned())
}

fn wrapped(error: anyhow::Error, what: String, hint: String) -> anyhow::Error {
    let explained: anyhow::Result<std::convert::Infallible> = Err(error).explain(Kind::Environment, what, hint);
    match explained {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

/// No branch, tag or commit has this name.
pub(super) fn unknown_revision(rev: &str, address: &Address, names: &[&str]) -> anyhow::Error {
    let close = closest(rev, names);
    let hint = match close.is_empty() {
        true => "name a branch, a tag or a commit that was pushed".to_owned(),
        false => format!("name a branch, a tag or a commit that was pushed, such as {}", close.join(", ")),
    };
    Failure::new(Kind::Usage, format!("{} has no revision `{rev}`", address.shown()), hint)
}

/// The names that look most like `wanted`, best first.
fn closest<'a>(wanted: &str, names: &[&'a str]) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let distance = |name: &str| {
        let name = name.to_lowercase();
        if name.contains(&wanted) || wanted.contains(&name) { 0 } else { edits(&wanted, &name) }
    };
    let mut ranked: Vec<(usize, &str)> = names.iter().map(|name| (distance(name), *name)).collect();
    ranked.retain(|(distance, _)| *distance <= wanted.len() / 2);
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
}

/// Levenshtein's distance, in bytes.
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_names_come_first_and_strangers_not_at_all() {
        assert_eq!(closest("relase-1.2", &["main", "release-1.2", "release-1.3"]), ["release-1.2", "release-1.3"]);
        assert_eq!(closest("v1", &["v1.0", "v1.1", "x"]), ["v1.0", "v1.1"]);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn a_message_never_repeats_the_url_s_password() {
        let address = Address::new("https://u:hunter2@h/a");
        let error = git2::Error::new(ErrorCode::GenericError, ErrorClass::Net, "failed at https://u:hunter2@h/a");
        let shown = format!("{:#}", explained(&error, &address, &[]));
        assert_eq!(shown, "could not fetch from https://h/a: failed at https://u:****@h/a");
    }
}
