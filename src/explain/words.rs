//! Differences of cache keys in words: what changed, from what to what, and what to do about it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use similar::{ChangeTag, TextDiff};

use super::difference::Difference;
use crate::manifest::{Likeness, compare, masked};

/// Lines of a command's diff that are shown, at most.
const DIFF_LINES: usize = 20;
/// Longer values are cut.
const VALUE_CHARACTERS: usize = 120;
/// The build argument that gives files a time.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What to do about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    WarmAgain,
    SameArguments,
    PinImage,
    PinFrontend,
    SourcePolicy,
    SamePlatform,
    SameOptions,
    SameEpoch,
    IgnoreGit,
    Modes,
    /// The old checkout's, and the new one's.
    Umask(u32, u32),
    Snapshotter,
    Worker,
    Evicted,
    Buildkit,
    SameInputs,
    SameContext,
    Key,
}

impl Remedy {
    /// As a person reads it.
    pub(super) fn words(self) -> Cow<'static, str> {
        let words = match self {
            Remedy::WarmAgain => "expected if the change is meant: warm again from this commit",
            Remedy::SameArguments => {
                "give warm the build arguments that CI gives (--build-arg), or warm again if the change is meant"
            }
            Remedy::PinImage => "warm again with the image as it is now, or pin it by its digest in the Dockerfile",
            Remedy::PinFrontend => "pin the version in the Dockerfile's `# syntax=` line, and warm again",
            Remedy::SourcePolicy => "give warm the source policy that CI has (--source-policy)",
            Remedy::SamePlatform => "warm for the platform that CI builds for (--platform)",
            Remedy::SameOptions => {
                "give warm the options that CI gives (--network, --shm-size, --ulimit, --add-host), or warm again"
            }
            Remedy::SameEpoch => "give warm the same SOURCE_DATE_EPOCH as CI, or none to both",
            Remedy::IgnoreGit => "put .git into .dockerignore, or mount only what the step needs",
            Remedy::Modes => {
                "expected if the change is meant: warm again; else check out under the umask of the other (git's is 022)"
            }
            Remedy::Umask(old, new) => {
                return Cow::Owned(format!(
                    "warm with `--modes umask={new:03o}` if CI checks out as here, else check out under `umask {old:03o}`"
                ));
            }
            Remedy::Snapshotter => "use the snapshotter that the cache was made with, or warm with this one",
            Remedy::Worker => "bring the file `workerid` of the state root along with the rest, or warm again",
            Remedy::Evicted => {
                "give BuildKit's garbage collection more room (`cachewarm check` forecasts it), and warm again"
            }
            Remedy::Buildkit => "use the BuildKit that warmed the cache, or warm with this one",
            Remedy::SameContext => {
                "give warm the kind of context that CI gives: a directory is sent as its .dockerignore says, a git URL \
                 (--context URL#REF) is fetched whole by the builder"
            }
            Remedy::Key => {
                "keep the file manifest.json.cachewarm-key beside the manifest, readable for who asks, and compare manifests of one key"
            }
            Remedy::SameInputs => {
                "see that this is the root that was warmed (`cachewarm check --manifest`), then warm it again"
            }
        };
        Cow::Borrowed(words)
    }
}

/// The differences of two keys, most important first.
pub(super) fn of_keys(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Difference> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let fields = names.into_iter().filter(|name| !name.starts_with("image"));
    let mut differences: Vec<(u8, Difference)> = fields
        .filter_map(|name| {
            let (before, now) = (old.get(name).map(String::as_str), new.get(name).map(String::as_str));
            match before.zip(now).map_or(Likeness::Changed, |(before, now)| compare(before, now)) {
                Likeness::Same => None,
                Likeness::Changed => Some(of_field(name, before, now)),
                Likeness::Unknown => Some((u8::MAX, unknown(name))),
            }
        })
        .collect();
    differences.sort_by_key(|(rank, _)| *rank);
    let images = of_images(old, new).into_iter();
    images.chain(differences.into_iter().map(|(_, difference)| difference)).collect()
}

/// A field with a secret in it of which nobody can say whether it changed.
fn unknown(name: &str) -> Difference {
    let what = name
        .strip_prefix("env ")
        .map_or_else(|| name.to_owned(), |name| format!("the build argument or variable {name}"));
    let what = format!("{what} has a secret that cannot be compared: the key of the manifest's hashes is not here");
    Difference::new("secret-unknown", what, Remedy::Key)
}

/// What differs between two images.
pub(super) fn of_images(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Option<Difference> {
    let of = |key: &BTreeMap<String, String>, name: &str| key.get(name).cloned().unwrap_or_default();
    let names = (of(old, "image"), of(new, "image"));
    let digests = (of(old, "image digest"), of(new, "image digest"));
    let platforms = (of(old, "platform"), of(new, "platform"));
    if names.0 != names.1 {
        let what = format!("the image is {}; it was {}", names.1, names.0);
        return Some(Difference::new("base-image-changed", what, Remedy::WarmAgain));
    }
    if platforms.0 != platforms.1 {
        let what = format!("the platform is {}; it was {}", platforms.1, platforms.0);
        return Some(Difference::new("platform-changed", what, Remedy::SamePlatform));
    }
    (digests.0 != digests.1).then(|| {
        let what = format!("the image {} has moved from {} to {}", names.1, digests.0, digests.1);
        Difference::new("base-image-moved", what, Remedy::PinImage)
    })
}

/// One field that differs, and how much it says: less is more.
fn of_field(name: &str, old: Option<&str>, new: Option<&str>) -> (u8, Difference) {
    let (class, rest) = name.split_once(' ').unwrap_or((name, ""));
    let change = |what: &str| changed(what, old, new);
    match class {
        "platform" => (0, Difference::new("platform-changed", change("the platform"), Remedy::SamePlatform)),
        "command" => {
            let detail = diff(old.unwrap_or_default(), new.unwrap_or_default());
            let what = change("the command");
            (1, Difference { detail, ..Difference::new("command-changed", what, Remedy::WarmAgain) })
        }
        "env" if rest == EPOCH => (2, Difference::new("source-date-epoch", change(EPOCH), Remedy::SameEpoch)),
        "env" => {
            let what = change(&format!("the build argument or variable {rest}"));
            (3, Difference::new("argument-changed", what, Remedy::SameArguments))
        }
        "copy" | "file" | "directory" | "symlink" if name.ends_with(" timestamp") => {
            let what = change(&format!("the time it gives to files ({EPOCH})"));
            (5, Difference::new("source-date-epoch", what, Remedy::SameEpoch))
        }
        "file" if name.ends_with(" content") => {
            (4, Difference::new("file-changed", "the file it writes has other content", Remedy::WarmAgain))
        }
        "directory" if name.ends_with(" path") => {
            (4, Difference::new("workdir-changed", change("the directory it makes"), Remedy::WarmAgain))
        }
        "copy" | "file" | "directory" | "symlink" | "removal" => {
            let field = rest.split_once(' ').map_or(rest, |(_, field)| field);
            (4, Difference::new("copy-changed", change(&format!("the {field} of what it does")), Remedy::WarmAgain))
        }
        "mount" if rest == "/dev/shm" => {
            (6, Difference::new("shm-size-changed", change("/dev/shm"), Remedy::SameOptions))
        }
        "mount" => (4, Difference::new("mount-changed", change(&format!("the mount at {rest}")), Remedy::WarmAgain)),
        "workdir" => (4, Difference::new("workdir-changed", change("the working directory"), Remedy::WarmAgain)),
        "user" => (4, Difference::new("user-changed", change("the user"), Remedy::WarmAgain)),
        "network" => (6, Difference::new("network-changed", change("the network"), Remedy::SameOptions)),
        "ulimit" => (6, Difference::new("ulimit-changed", change(&format!("the limit {rest}")), Remedy::SameOptions)),
        "host" => (6, Difference::new("hosts-changed", change(&format!("the extra host {rest}")), Remedy::SameOptions)),
        "source" => (0, Difference::new("source-moved", change("what it fetches"), Remedy::WarmAgain)),
        _ => (7, Difference::new("options-changed", change(name), Remedy::SameOptions)),
    }
}

fn changed(what: &str, old: Option<&str>, new: Option<&str>) -> String {
    match (old, new) {
        (None, Some(new)) => format!("{what} was added: {}", shortened(new)),
        (Some(old), None) => format!("{what} was dropped; it was {}", shortened(old)),
        (old, new) => {
            let [old, new] = [old, new].map(|value| masked(value.unwrap_or_default()));
            match old == new {
                true => format!("{what} changed in a secret: {}", shortened(&new)),
                false => format!("{what} changed: {} → {}", shortened(&old), shortened(&new)),
            }
        }
    }
}

/// A value on one line, not too long.
fn shortened(value: &str) -> String {
    let line = masked(value).split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return "\"\"".to_owned();
    }
    match line.char_indices().nth(VALUE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The lines that differ; nothing for a command of one line, which is told whole.
fn diff(old: &str, new: &str) -> Vec<String> {
    if !old.contains('\n') && !new.contains('\n') && old.len().max(new.len()) <= VALUE_CHARACTERS {
        return Vec::new();
    }
    // A long line is one shell command after the other.
    let lines = |text: &str| masked(text).replace(" && ", "\n&& ").replace("; ", ";\n");
    let (old, new) = (lines(old), lines(new));
    let diff = TextDiff::from_lines(&old, &new);
    let changed = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
    let mut shown: Vec<String> = changed
        .map(|change| {
            let sign = if change.tag() == ChangeTag::Delete { '-' } else { '+' };
            format!("{sign} {}", change.value().trim_end())
        })
        .collect();
    if shown.len() > DIFF_LINES {
        let all = shown.len();
        shown.truncate(DIFF_LINES);
        shown.push(format!("… {all} lines in all"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_field_has_a_kind_and_names_what_changed() {
        let told = |name: &str, old: Option<&str>, new: Option<&str>| {
            let (_, difference) = of_field(name, old, new);
            format!("{}: {}", difference.kind, difference.what)
        };
        let both = |name: &str| told(name, Some("a"), Some("b"));
        let told = [
            both("command"),
            both("env CFLAGS"),
            told("env CFLAGS", None, Some("")),
            told("env SOURCE_DATE_EPOCH", Some("1"), None),
            both("platform"),
            both("mount /dev/shm"),
            both("mount /src"),
            both("network"),
            both("ulimit nofile"),
            told("host db", None, Some("set")),
            both("workdir"),
            both("copy 1 destination"),
            both("copy 2 timestamp"),
            both("file 1 content"),
            both("security"),
        ];
        insta::assert_snapshot!(told.join("\n"), @r#"
        command-changed: the command changed: a → b
        argument-changed: the build argument or variable CFLAGS changed: a → b
        argument-changed: the build argument or variable CFLAGS was added: ""
        source-date-epoch: SOURCE_DATE_EPOCH was dropped; it was 1
        platform-changed: the platform changed: a → b
        shm-size-changed: /dev/shm changed: a → b
        mount-changed: the mount at /src changed: a → b
        network-changed: the network changed: a → b
        ulimit-changed: the limit nofile changed: a → b
        hosts-changed: the extra host db was added: set
        workdir-changed: the working directory changed: a → b
        copy-changed: the destination of what it does changed: a → b
        source-date-epoch: the time it gives to files (SOURCE_DATE_EPOCH) changed: a → b
        file-changed: the file it writes has other content
        options-changed: security changed: a → b
        "#);
    }

    #[test]
    fn a_long_command_is_told_line_by_line() {
        let old = format!("apt-get update && apt-get install -y {} && make", "x".repeat(120));
        let differences = of_keys(&key(&[("command", &old)]), &key(&[("command", &old.replace("make", "make -j2"))]));
        assert_eq!(differences[0].detail, ["- && make", "+ && make -j2"]);
    }

    #[test]
    fn an_image_is_told_by_its_name_and_its_digest() {
        let image = |name: &str, digest: &str| key(&[("image", name), ("image digest", digest)]);
        let kind = |old, new| of_images(&old, &new).map(|difference| difference.kind);
        assert_eq!(kind(image("x", "1"), image("x", "1")), None);
        assert_eq!(kind(image("x", "1"), image("x", "2")), Some("base-image-moved"));
        assert_eq!(kind(image("x", "1"), image("y", "1")), Some("base-image-changed"));
    }

    proptest! {
        #[test]
        fn any_two_commands_are_told_apart(old in any::<String>(), new in any::<String>()) {
            let differences = of_keys(&key(&[("command", &old)]), &key(&[("command", &new)]));
            prop_assert_eq!(differences.is_empty(), old == new);
            prop_assert!(differences.iter().all(|difference| difference.detail.len() <= DIFF_LINES + 1));
        }
    }
}
