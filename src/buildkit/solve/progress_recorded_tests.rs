//! What is made of the status streams of real daemons, of every version that is recorded: `tests/fixtures/status`, and
//! `status-streams.sh` beside it, which says what was built.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use anyhow::anyhow;
use prost::Message;

use super::super::accounts::Account;
use super::super::blame;
use super::super::vertex;
use super::*;

const VERSIONS: [&str; 5] = ["v0.12.5", "v0.20.2", "v0.25.2", "v0.32.2", "v0.34.2"];
/// The scenario whose client goes away in the middle of a step.
const STOPPED: &str = "stopped";

/// What every version calls its vertices, and what is understood of that.
const NAMES: [(&str, &str); 33] = [
    ("[1/2] FROM docker.io/library/busybox:1.35", ""),
    ("[2/2] ADD git://127.0.0.1/none.git /none", "silent"),
    ("[2/2] ADD http://127.0.0.1:8000/file /file", "silent"),
    ("[2/2] ADD http://127.0.0.1:8000/none /file", "silent"),
    ("[2/2] COPY none /", ""),
    ("[2/2] RUN sleep 60", ""),
    ("[build 1/3] FROM docker.io/library/busybox:1.35", "stage build"),
    ("[build 2/3] COPY a /a", "stage build"),
    ("[build 3/3] RUN wc -l </a >/b", "stage build"),
    ("[empty 1/1] WORKDIR /w", "stage empty"),
    ("[internal] load .dockerignore", "internal"),
    ("[internal] load build context", "internal"),
    ("[internal] load build definition from Dockerfile", "internal"),
    ("[internal] load git source git://127.0.0.1/app#main", "internal, silent, git"),
    ("[internal] load git source git://127.0.0.1/app#none", "internal, silent, git"),
    ("[internal] load git source git://127.0.0.1/none", "internal, silent, git"),
    ("[internal] load metadata for 127.0.0.1:1/image:latest", "internal, resolves 127.0.0.1:1/image:latest"),
    (
        "[internal] load metadata for 127.0.0.1:5000/library/busybox:none",
        "internal, resolves 127.0.0.1:5000/library/busybox:none",
    ),
    (
        "[internal] load metadata for docker.io/library/busybox:1.35",
        "internal, resolves docker.io/library/busybox:1.35",
    ),
    ("[linux/amd64 1/2] FROM docker.io/library/busybox:1.35", ""),
    ("[linux/amd64 2/2] COPY Dockerfile /", ""),
    (
        "[linux/amd64 internal] load metadata for docker.io/library/busybox:1.35",
        "internal, resolves docker.io/library/busybox:1.35",
    ),
    ("[linux/arm64 1/2] FROM docker.io/library/busybox:1.35", ""),
    ("[linux/arm64 2/2] COPY Dockerfile /", ""),
    (
        "[linux/arm64 internal] load metadata for docker.io/library/busybox:1.35",
        "internal, resolves docker.io/library/busybox:1.35",
    ),
    ("[stage-2 2/4] COPY --from=build /b /b", "stage stage-2"),
    ("[stage-2 3/4] COPY --from=empty /w /w", "stage stage-2"),
    ("[stage-2 4/4] RUN cat /b && exit 0", "stage stage-2"),
    ("[stage-2 4/4] RUN cat /b && exit 3", "stage stage-2"),
    ("[stage-2 4/4] RUN cat /b && exit 4", "stage stage-2"),
    ("docker-image://docker.io/docker/dockerfile:1", "fetches docker.io/docker/dockerfile:1"),
    // Only buildctl has something exported.
    ("exporting cache to registry", ""),
    ("importing cache manifest from 127.0.0.1:5000/app:cache", "imports 127.0.0.1:5000/app:cache"),
];

/// What a daemon told while a scenario was built.
fn told(version: &str, scenario: &str) -> Vec<StatusResponse> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/status/{version}/{scenario}.gz"));
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    while let [_, length @ ..] = rest {
        let (length, behind) = length.split_first_chunk().unwrap();
        let (message, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        messages.push(StatusResponse::decode(message).unwrap());
        rest = behind;
    }
    messages
}

/// The scenarios of a version.
fn scenarios(version: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/status").join(version);
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.strip_suffix(".gz").unwrap().to_owned()).collect()
}

/// The name of a vertex, without the digest of the image, which is another in every recording.
fn name(vertex: &str) -> &str {
    vertex.split_once("@sha256:").map_or(vertex, |(name, _)| name)
}

/// The vertices that `Operation::is_work` finds in a graph: what runs or writes something, and has inputs.
fn work(messages: &[StatusResponse]) -> HashSet<String> {
    let vertices = messages.iter().flat_map(|message| &message.vertexes);
    let is_work = |vertex: &&Vertex| {
        let line = vertex.name.split_once("] ").map_or("", |(_, line)| line);
        !vertex.inputs.is_empty() && ["RUN ", "COPY ", "ADD "].iter().any(|word| line.starts_with(word))
    };
    vertices.filter(is_work).map(|vertex| vertex.digest.clone()).collect()
}

/// A tracker that heard a scenario.
fn tracker(version: &str, scenario: &str, forbid_work: bool, more_work: &[&str]) -> StatusTracker {
    let messages = told(version, scenario);
    let tracker = StatusTracker::new(Events::nobody(), forbid_work, Redactor::default());
    let named = messages.iter().flat_map(|message| &message.vertexes).filter(|it| more_work.contains(&&*it.name));
    let work = work(&messages).into_iter().chain(named.map(|vertex| vertex.digest.clone())).collect();
    tracker.expect(work, Redactor::default());
    messages.into_iter().for_each(|message| tracker.apply(message));
    tracker
}

/// What became of the steps that are work, by their names, in the order of those.
fn became(version: &str, scenario: &str, accounts: &Accounts) -> Vec<String> {
    let work = work(&told(version, scenario));
    let state = |account: &Account| match account {
        Account { ran: true, error: Some(_), .. } => "failed",
        Account { ran: true, .. } => "ran",
        Account { cached: true, .. } => "hit",
        Account { tried: true, error: Some(_), .. } => "tried, error",
        Account { tried: true, .. } => "tried",
        _ => "nothing",
    };
    let steps = work.iter().map(|digest| &accounts.vertices[digest]);
    let steps: BTreeSet<_> = steps.map(|account| format!("{}: {}", account.name, state(account))).collect();
    steps.into_iter().collect()
}

/// A table of what became of the sample's steps: COPY and RUN of its first stage, both COPY and RUN of its last.
fn sample(code: u8, states: [&str; 5]) -> Vec<String> {
    let last = format!("[stage-2 4/4] RUN cat /b && exit {code}");
    let names = [
        "[build 2/3] COPY a /a",
        "[build 3/3] RUN wc -l </a >/b",
        "[stage-2 2/4] COPY --from=build /b /b",
        "[stage-2 3/4] COPY --from=empty /w /w",
        &last,
    ];
    names.iter().zip(states).map(|(name, state)| format!("{name}: {state}")).collect()
}

#[test]
fn every_version_says_what_hit_and_what_ran() {
    let one = |line: &str| vec![line.to_owned()];
    let table = [
        ("ran", sample(0, ["ran"; 5])),
        ("hit", sample(0, ["hit"; 5])),
        ("again", sample(0, ["hit"; 5])),
        ("failed", sample(3, ["hit", "hit", "hit", "hit", "failed"])),
        // What is made of the changed file is the same, and found by its content.
        ("changed", sample(0, ["ran", "ran", "hit", "hit", "hit"])),
        ("changed-again", sample(0, ["hit"; 5])),
        ("git", sample(0, ["ran"; 5])),
        // The cache has it, and its registry does not have the layers: the step that needs them never begins.
        ("no-layers", sample(4, ["hit", "hit", "hit", "hit", "tried, error"])),
        ("platforms", ["amd64", "arm64"].map(|it| format!("[linux/{it} 2/2] COPY Dockerfile /: ran")).to_vec()),
        ("frontend", one("[2/2] ADD http://127.0.0.1:8000/file /file: ran")),
        ("no-file", one("[2/2] ADD http://127.0.0.1:8000/none /file: nothing")),
        ("no-added-repository", one("[2/2] ADD git://127.0.0.1/none.git /none: nothing")),
        ("no-such-copy", one("[2/2] COPY none /: tried, error")),
        ("no-image", Vec::new()),
        ("no-registry", Vec::new()),
        ("no-repository", Vec::new()),
        ("no-revision", Vec::new()),
    ];
    for version in VERSIONS {
        for (scenario, expected) in &table {
            let accounts = tracker(version, scenario, false, &[]).accounts();
            assert_eq!(became(version, scenario, &accounts), *expected, "{version} {scenario}");
        }
        let known = table.iter().map(|(scenario, _)| *scenario).chain([STOPPED]).map(str::to_owned);
        assert_eq!(scenarios(version), known.collect(), "{version}");
    }
}

#[test]
fn a_step_that_was_stopped_was_tried_and_nothing_else_is_known_of_it() {
    for version in VERSIONS {
        let tracker = tracker(version, STOPPED, true, &[]);
        let accounts = tracker.accounts();
        let stopped = accounts.vertices.values().find(|account| account.name == "[2/2] RUN sleep 60").unwrap();
        assert!(stopped.tried && !stopped.cached, "{version}");
        assert_eq!(stopped.error, None, "{version}");
        // The stream may end before the daemon tells that it stopped.
        assert!(stopped.ran != stopped.is_running(), "{version}");
        tracker.raise_for_running(Duration::ZERO);
        let expected = Some(Alarm::StepStarted { name: stopped.name.clone() });
        assert_eq!(*tracker.alarm.borrow(), expected, "{version}");
    }
}

#[test]
fn what_ran_in_an_earlier_round_ran_and_what_hit_then_is_no_less() {
    for version in VERSIONS {
        for (rounds, states) in
            [(["hit", "again"], ["hit"; 5]), (["changed", "changed-again"], ["ran", "ran", "hit", "hit", "hit"])]
        {
            let [earlier, later] = rounds.map(|scenario| tracker(version, scenario, false, &[]).accounts());
            let fetched = earlier.blobs.len();
            let both = later.after(earlier);
            assert_eq!(became(version, rounds[0], &both), sample(0, states), "{version} {rounds:?}");
            assert!(both.blobs.len() >= fetched, "{version} {rounds:?}");
        }
    }
}

#[test]
fn only_a_cold_root_fetches_and_unpacks() {
    for version in VERSIONS {
        for (scenario, is_cold) in [("hit", true), ("again", false), ("changed", true), ("changed-again", false)] {
            let accounts = tracker(version, scenario, false, &[]).accounts();
            let fetched = accounts.blobs.values().filter(|blob| blob.was_fetched()).count();
            let is_unpacked = !accounts.extractions.is_empty() && accounts.extractions.values().all(|done| *done);
            assert_eq!((fetched > 0, is_unpacked), (is_cold, is_cold), "{version} {scenario}");
        }
    }
}

#[test]
fn only_the_import_that_failed_is_one() {
    for version in VERSIONS {
        for scenario in scenarios(version) {
            let tracker = tracker(version, &scenario, false, &[]);
            let failed: Vec<_> = tracker.accounts().failed_imports.into_iter().map(|(donor, _)| donor).collect();
            let expected: &[&str] = if scenario == "ran" { &["127.0.0.1:5000/app:gone"] } else { &[] };
            assert_eq!(failed, expected, "{version} {scenario}");
            assert_eq!(tracker.imported_all().is_err(), !expected.is_empty(), "{version} {scenario}");
        }
    }
}

#[test]
fn a_step_that_must_not_run_raises_the_alarm_and_one_that_hits_does_not() {
    for version in VERSIONS {
        for (scenario, alarm) in [("hit", None), ("again", None), ("changed", Some("[build 2/3] COPY a /a"))] {
            let raised = tracker(version, scenario, true, &[]).alarm.borrow().clone();
            let expected = alarm.map(|name| Alarm::StepStarted { name: name.to_owned() });
            assert_eq!(raised, expected, "{version} {scenario}");
        }
    }
}

#[test]
fn nothing_is_under_way_when_a_build_has_ended_also_of_work_without_inputs() {
    // A registry's cache has nothing of it, and BuildKit infers that it hit while it runs: what is built on it did.
    let without_inputs = "[empty 1/1] WORKDIR /w";
    for version in VERSIONS {
        for scenario in ["ran", "hit", "again", "changed", "changed-again", "failed", "git"] {
            let accounts = tracker(version, scenario, false, &[without_inputs]).accounts();
            let running = accounts.vertices.values().find(|account| account.is_running()).map(|account| &account.name);
            assert_eq!(running, None, "{version} {scenario}");
            let account = accounts.vertices.values().find(|account| account.name == without_inputs).unwrap();
            let is_kept = ["again", "changed-again", "failed"].contains(&scenario);
            assert_eq!((account.ran, account.seconds > 0.0), (!is_kept, !is_kept), "{version} {scenario}");
        }
    }
}

#[test]
fn an_error_says_whose_fault_it_is() {
    let address = Some("check the address");
    let table = [
        // What failed, of which name, and whether that is the step's own, the surroundings', and what to do.
        ("failed", "[stage-2 4/4] RUN cat /b && exit 3", true, false, None),
        ("ran", "importing cache manifest from 127.0.0.1:5000/app:gone", false, false, None),
        ("no-layers", "[stage-2 4/4] RUN cat /b && exit 4", false, true, None),
        ("no-such-copy", "[2/2] COPY none /", false, false, None),
        ("no-image", "[internal] load metadata for 127.0.0.1:5000/library/busybox:none", false, false, None),
        ("no-registry", "[internal] load metadata for 127.0.0.1:1/image:latest", false, true, None),
        ("no-repository", "[internal] load git source git://127.0.0.1/none", false, true, address),
        ("no-added-repository", "[2/2] ADD git://127.0.0.1/none.git /none", false, true, address),
        (
            "no-revision",
            "[internal] load git source git://127.0.0.1/app#none",
            false,
            false,
            Some("correct the revision"),
        ),
        ("no-file", "[2/2] ADD http://127.0.0.1:8000/none /file", false, true, Some("check the URL")),
    ];
    for version in VERSIONS {
        for scenario in scenarios(version) {
            let accounts = tracker(version, &scenario, false, &[]).accounts();
            let said = accounts.vertices.into_values().filter_map(|account| Some((account.name, account.error?)));
            let said: Vec<_> = said.collect();
            let expected = table.iter().find(|(of, ..)| *of == scenario);
            let Some((_, name, is_step, is_surroundings, remedy)) = expected else {
                assert!(said.is_empty(), "{version} {scenario}: {said:?}");
                continue;
            };
            let [(failed, text)] = said.as_slice() else { panic!("{version} {scenario}: {said:?}") };
            let name = match (version, *name) {
                // It called sources what they are.
                ("v0.12.5", "[2/2] ADD git://127.0.0.1/none.git /none") => "git://127.0.0.1/none.git",
                ("v0.12.5", "[2/2] ADD http://127.0.0.1:8000/none /file") => "http://127.0.0.1:8000/none",
                (_, name) => name,
            };
            let error = anyhow!("{text}");
            let found =
                (blame::is_failed_step(&error), blame::is_surroundings(&error), blame::blames_surroundings(text));
            assert_eq!(failed, name, "{version} {scenario}");
            assert_eq!(found, (*is_step, *is_surroundings, *is_surroundings), "{version} {scenario}: {text}");
            let found = blame::fetch_remedy(&error);
            assert_eq!(found.is_some(), remedy.is_some(), "{version} {scenario}: {text}");
            assert!(found.unwrap_or_default().starts_with(remedy.unwrap_or_default()), "{version} {scenario}: {text}");
        }
    }
}

#[test]
fn every_name_is_understood() {
    let gone = ("importing cache manifest from 127.0.0.1:5000/app:gone", "imports 127.0.0.1:5000/app:gone");
    let oldest = [
        gone,
        ("git://127.0.0.1/none.git", "silent"),
        ("http://127.0.0.1:8000/none", "silent"),
        ("resolve image config for docker.io/docker/dockerfile:1", "resolves docker.io/docker/dockerfile:1"),
    ];
    let later = [
        gone,
        (
            "resolve image config for docker-image://docker.io/docker/dockerfile:1",
            "resolves docker.io/docker/dockerfile:1",
        ),
    ];
    for version in VERSIONS {
        let own: &[_] = if version == "v0.12.5" { &oldest } else { &later };
        let expected: BTreeMap<_, _> = NAMES.iter().chain(own).map(|(name, all)| (*name, (*all).to_owned())).collect();
        let messages: Vec<_> = scenarios(version).iter().flat_map(|scenario| told(version, scenario)).collect();
        let names = messages.iter().flat_map(|message| &message.vertexes).map(|vertex| name(&vertex.name));
        let found: BTreeMap<_, _> = names.map(|name| (name, understood(name))).collect();
        assert_eq!(found, expected, "{version}");
    }
}

/// All that is read in the name of a vertex.
fn understood(name: &str) -> String {
    let is = |is: bool, what: &str| is.then(|| what.to_owned());
    let of = |what: &str, name: Option<&str>| name.map(|name| format!("{what} {name}"));
    let parts = [
        is(vertex::is_internal(name), "internal"),
        of("imports", vertex::imported_from(name)),
        of("resolves", vertex::resolved_image(name)),
        of("fetches", vertex::fetched_image(name)),
        of("stage", vertex::stage(name)),
        is(vertex::fetches_in_silence(name), "silent"),
        is(vertex::fetches_git_context(name), "git"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[test]
fn every_status_is_understood() {
    for version in VERSIONS {
        // Of `ran` a cache is exported, which we have nobody do.
        let scenarios = scenarios(version).into_iter().filter(|scenario| scenario != "ran");
        let messages: Vec<_> = scenarios.flat_map(|scenario| told(version, &scenario)).collect();
        let statuses = messages.iter().flat_map(|message| &message.statuses);
        let kind = |id: &str| match vertex::doing(id) {
            Doing::Unpacking(blob) => format!("unpacks {}", blob.starts_with("sha256:")),
            Doing::Fetching(blob) => format!("fetches {}", blob.starts_with("sha256:")),
            Doing::Sending(name) => format!("sends {name}"),
            Doing::Pulling(_) => "pulls".to_owned(),
            Doing::Else => id.split(' ').next().unwrap_or_default().to_owned(),
        };
        let found: BTreeSet<_> = statuses.map(|status| kind(&status.id)).collect();
        let expected = ["fetches true", "inferred", "resolve", "sends context", "sends dockerfile", "unpacks true"];
        assert_eq!(found, expected.map(str::to_owned).into(), "{version}");
    }
}
