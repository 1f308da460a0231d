//! A report to test renderers with.

use super::*;

/// A step of that name and state.
pub(crate) fn step(name: &str, state: StepState) -> Step {
    Step {
        digest: format!("sha256:{:0>64}", name.len()),
        name: name.to_owned(),
        stage: name.strip_prefix('[').and_then(|rest| rest.split([' ', ']']).next()).map(str::to_owned),
        targets: vec!["app".to_owned()],
        state,
        reason: None,
    }
}

/// A run in which one step had to run and everything is on disk.
pub(crate) fn warm() -> Report {
    let mut ran = step("[build 2/2] RUN make", StepState::Ran);
    ran.reason = Some(Reason {
        kind: "no-record".to_owned(),
        what: "no donor has a record of this step".to_owned(),
        detail: Some("RUN make\nexit 0".to_owned()),
        remedy: Some("export the cache of main again".to_owned()),
    });
    let stage = |name: &str, steps, ran| StageSummary { name: name.to_owned(), steps, hits: steps - ran, ran };
    Report {
        head: Head {
            version: "0.1.0",
            build: "0123456 2026-11-28 x86_64-unknown-linux-gnu",
            ..Head::new("warm", Verdict::Warm, Vec::new(), vec!["build arg UNUSED is consumed by no stage".to_owned()])
        },
        source: Source {
            location: "https://git.example/shop.git".to_owned(),
            rev: Some("main".to_owned()),
            commit: Some("1f2e3d4c5b6a798877665544332211000a0b0c0d".to_owned()),
            changed: Some(0),
            untracked: Some(0),
            modes: Some("umask=022".to_owned()),
        },
        builder: Builder {
            kind: "spawn".to_owned(),
            address: "/usr/local/bin/buildkitd".to_owned(),
            buildkit_version: "v0.32.2".to_owned(),
            state_root: Some("/var/lib/buildkit".to_owned()),
        },
        donors: vec![
            Donor {
                reference: "registry.example/shop/cache:main".to_owned(),
                digest: Some(format!("sha256:{:a<64}", "1f2e3d4c5b6")),
                usable: true,
                layers: 11,
                bytes: 1_288_490_189,
                problem: None,
            },
            Donor {
                reference: "registry.example/shop/cache:next".to_owned(),
                digest: None,
                usable: false,
                layers: 0,
                bytes: 0,
                problem: Some("there is no such tag".to_owned()),
            },
        ],
        resolved_by_every_build: vec!["docker.io/library/debian:bookworm".to_owned()],
        targets: vec![
            TargetSummary {
                name: "app".to_owned(),
                stage: Some("runtime".to_owned()),
                steps: 12,
                hits: 11,
                ran: 1,
                stages: vec![stage("base", 4, 0), stage("build", 2, 1), stage("runtime", 6, 0)],
            },
            TargetSummary {
                name: "docs".to_owned(),
                stage: Some("docs".to_owned()),
                steps: 1,
                hits: 1,
                ran: 0,
                stages: vec![stage("docs", 1, 0)],
            },
        ],
        steps: vec![step("[base 1/4] FROM debian", StepState::Hit), ran],
        frontends: None,
        layers: Some(Layers {
            total: 11,
            extracted: 11,
            bytes_compressed: 1_288_490_189,
            bytes_unpacked: 3_650_722_202,
            ..Layers::default()
        }),
        transfer: Transfer {
            sources: vec![
                TransferSource {
                    reference: "registry.example/team/cache:main".into(),
                    bytes: 1_200_000_000,
                    blobs: 10,
                },
                TransferSource { reference: "images".into(), bytes: 88_490_189, blobs: 1 },
            ],
            failed_attempts: 2,
            bytes: 1_288_490_189,
            blobs: 11,
            extracted: 11,
            seconds: 14.2,
            p50: 1.2,
            p95: 4.0,
            p99: 5.1,
            fetch: Some(Fetching {
                by: "cachewarm",
                why: None,
                connections: 16,
                blobs: 11,
                bytes: 1_288_490_189,
                seconds: 14.0,
                parts: 90,
                retried: 3,
                resumed: 2,
                left: Vec::new(),
            }),
        },
        proof: Some(Proof { results: 24, ..Proof::default() }),
        phases: vec![
            Phase { name: "source".to_owned(), seconds: 1.2 },
            Phase { name: "donors".to_owned(), seconds: 0.3 },
            Phase { name: "materialize".to_owned(), seconds: 71.0 },
        ],
        hit_rate: 0.923,
    }
}
