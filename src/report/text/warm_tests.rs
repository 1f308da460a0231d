//! What a person reads, for a run that went well and for one that did not.

use super::*;
use crate::report::sample;
use crate::report::{Layers, Reason, Verdict};
use crate::verify::Doubts;

#[test]
fn a_warm_run_reads_calmly() {
    insta::assert_snapshot!(text(&sample::warm()), @"
    source     https://git.example/shop.git, main at 1f2e3d4c5b6a, modes of umask 022
    builder    spawn /usr/local/bin/buildkitd, BuildKit v0.32.2, state root /var/lib/buildkit
    caches     registry.example/shop/cache:main: 11 layers, 1.2 GiB, sha256:1f2e3d4c5b6a
               registry.example/shop/cache:next: not usable: there is no such tag

    app (runtime)  12 steps  11 hit   1 ran
      base          4 steps   4 hit
      build         2 steps   1 hit   1 ran
      runtime       6 steps   6 hit
    docs            1 step    1 hit
      docs          1 step    1 hit

    ran        [build 2/2] RUN make (app)
                 no donor has a record of this step
                   RUN make
                   exit 0
                 to do: export the cache of main again

    hit rate   92 %
    layers     11 of 11 extracted; on disk 1.2 GiB compressed, 3.4 GiB unpacked
    transfer   11 blobs, 1.2 GiB in 14.2 s (87 MiB/s), 11 layers unpacked
               1.1 GiB in 10 blobs from registry.example/team/cache:main
               84 MiB in 1 blob from images
               time per blob: half within 1.2 s, 95 % within 4.0 s, 99 % within 5.1 s
               11 layers by cachewarm in 14.0 s over 16 connections, 3 parts asked for again, 2 resumed
    proof      BuildKit built 24 results again without cache sources: nothing fetched, unpacked or run
    resolves   every build, also a fully cached one, still asks the network for
                 docker.io/library/debian:bookworm
    time       source 1.2 s, caches 300 ms, materialize 1m 11s; 1m 13s in all
    notes      build arg UNUSED is consumed by no stage

    verdict    warm
               - 1 step of this build ran here, in no cache: see above whether CI builds the same
    ");
}

#[test]
fn a_run_that_is_not_warm_ends_with_its_reasons() {
    let mut report = sample::warm();
    report.head.verdict = Verdict::NotWarm;
    report.head.reasons = vec!["2 layers are not extracted".to_owned(), "the proof ran 1 step".to_owned()];
    report.layers = Some(Layers { total: 11, extracted: 8, blob_only: 1, lazy: 1, phantom: 1, ..Layers::default() });
    report.donors[0].usable = false;
    report.donors[0].problem = Some("manifest unknown".to_owned());
    report.steps[1].state = StepState::Miss;
    report.proof = Some(Proof {
        results: 24,
        doubts: Doubts { ran: vec!["[build 2/2] RUN make".to_owned()], ..Doubts::default() },
        ..Proof::default()
    });
    insta::assert_snapshot!(text(&report), @"
    source     https://git.example/shop.git, main at 1f2e3d4c5b6a, modes of umask 022
    builder    spawn /usr/local/bin/buildkitd, BuildKit v0.32.2, state root /var/lib/buildkit
    caches     registry.example/shop/cache:main: not usable: manifest unknown
               registry.example/shop/cache:next: not usable: there is no such tag

    app (runtime)  12 steps  11 hit   1 ran
      base          4 steps   4 hit
      build         2 steps   1 hit   1 ran
      runtime       6 steps   6 hit
    docs            1 step    1 hit
      docs          1 step    1 hit

    missed     [build 2/2] RUN make (app)
                 no donor has a record of this step
                   RUN make
                   exit 0
                 to do: export the cache of main again

    hit rate   92 %
    layers     8 of 11 extracted; on disk 0 B compressed, 0 B unpacked
               1 blob only: fetched, not unpacked
               1 lazy: not even fetched
               1 phantom: looks unpacked, and the next start of BuildKit drops it
    transfer   11 blobs, 1.2 GiB in 14.2 s (87 MiB/s), 11 layers unpacked
               1.1 GiB in 10 blobs from registry.example/team/cache:main
               84 MiB in 1 blob from images
               time per blob: half within 1.2 s, 95 % within 4.0 s, 99 % within 5.1 s
               11 layers by cachewarm in 14.0 s over 16 connections, 3 parts asked for again, 2 resumed
    proof      BuildKit built 24 results again without cache sources; it
                 ran [build 2/2] RUN make
    resolves   every build, also a fully cached one, still asks the network for
                 docker.io/library/debian:bookworm
    time       source 1.2 s, caches 300 ms, materialize 1m 11s; 1m 13s in all
    notes      build arg UNUSED is consumed by no stage

    verdict    not warm
               - 2 layers are not extracted
               - the proof ran 1 step
    ");
}

#[test]
fn what_was_not_looked_at_is_said_to_be_so() {
    let mut report = sample::warm();
    report.head.verdict = Verdict::NotVerified;
    report.head.reasons = vec!["the state root is on another host".to_owned()];
    report.layers = None;
    report.proof = None;
    report.phases.clear();
    let text = text(&report);
    assert!(text.contains("layers     not read from disk\n"), "{text}");
    assert!(
        text.contains("verdict    not verified on disk\n           - the state root is on another host\n"),
        "{text}"
    );
    assert!(!text.contains("proof"), "{text}");
}

#[test]
fn foreign_text_moves_no_cursor_and_a_long_list_ends() {
    let mut report = sample::warm();
    report.steps =
        (0..40).map(|number| sample::step(&format!("[build] RUN \u{1b}[2J{number}"), StepState::Ran)).collect();
    report.steps[0].reason =
        Some(Reason { kind: "x".to_owned(), what: "evil\r\u{7}".to_owned(), detail: None, remedy: None });
    let text = text(&report);
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
    assert!(text.contains("[build] RUN 29 (app)\n           and 10 more, all in the JSON report\n"), "{text}");
}
