//! Verdicts over the fixture's root, whole and damaged. It is not warm: two layers were only matched, two only fetched.

use std::fs;
use std::path::Path;

use super::*;
use crate::auth::{Keychain, KeychainOptions};
use crate::failure::{Failure, Kind};
use crate::inspect::fixture;
use crate::manifest::Marks;
use crate::report::Verdict;

fn job_of(root: &Path) -> Job {
    Job {
        root: root.to_owned(),
        manifest: None,
        donors: Vec::new(),
        keychain: Keychain::new(KeychainOptions::default()),
        deep: false,
        thresholds: Vec::new(),
        every_record: true,
        used_by: Some(UsedBy::Version("v0.32.2".parse().unwrap())),
        buildkitd_config: None,
    }
}

async fn checked(root: &Path, thresholds: &[&str]) -> CheckReport {
    let thresholds = thresholds.iter().map(|text| text.parse().unwrap()).collect();
    let job = Job { thresholds, ..job_of(root) };
    check(job, CancellationToken::new(), Events::nobody()).await.unwrap()
}

/// The verdict, and its reasons.
async fn said(root: &Path, thresholds: &[&str]) -> (Verdict, String) {
    let report = checked(root, thresholds).await;
    (report.head.verdict, report.head.reasons.join("\n"))
}

#[tokio::test]
async fn what_is_only_matched_or_only_fetched_is_not_warm() {
    let root = fixture::root();
    let report = checked(root.path(), &[]).await;
    assert_eq!(report.head.verdict, Verdict::NotWarm);
    let found: Vec<_> = report.requirements.iter().map(|it| (it.name.as_str(), it.of, it.found, it.met)).collect();
    assert_eq!(found, [("extracted", 8, 4, false), ("reused", 8, 8, true)]);
    assert_eq!(report.head.reasons[0], "4 of 8 layers with results are not usable as they are: 2 blob-only, 2 lazy");
    assert_eq!((report.layers.total, report.layers.extracted, report.records.len()), (8, 4, 14));
    assert_eq!((report.cache.damaged, report.cache.unknown_worker), (0, 0));
}

#[tokio::test]
async fn a_report_that_nobody_reads_record_by_record_has_only_those_that_matter() {
    let root = fixture::root();
    let job = Job { every_record: false, ..job_of(root.path()) };
    let report = check(job, CancellationToken::new(), Events::nobody()).await.unwrap();
    let classes: Vec<&str> = report.records.iter().map(|record| record.class).collect();
    assert_eq!((classes.len(), report.layers.total), (4, 8));
    assert!(classes.iter().all(|class| ["lazy", "blob-only"].contains(class)), "{classes:?}");
}

#[tokio::test]
async fn a_threshold_decides_what_is_enough() {
    let root = fixture::root();
    assert_eq!(said(root.path(), &["extracted=50%"]).await, (Verdict::Warm, String::new()));
    assert_eq!(said(root.path(), &["extracted=0.51"]).await.0, Verdict::NotWarm);
    let (verdict, reasons) = said(root.path(), &["extracted=0", "survives=100%"]).await;
    assert_eq!((verdict, reasons.as_str()), (Verdict::NotWarm, "a restart drops 2 of 8 layers with results"));
}

#[tokio::test]
async fn no_threshold_makes_a_damaged_or_empty_root_warm() {
    let none = ["extracted=0"];
    let damaged = |damage: &dyn Fn(&Path)| {
        let root = fixture::root();
        damage(root.path());
        root
    };
    let worker_lost = damaged(&|root| fs::remove_file(root.join("runc-overlayfs/workerid")).unwrap());
    let worker_changed = damaged(&|root| fs::write(root.join("runc-overlayfs/workerid"), "another").unwrap());
    let keys_lost = damaged(&|root| fs::remove_file(root.join("cache.db")).unwrap());
    let blob_cut = damaged(&|root| {
        let blobs = root.join("runc-overlayfs/content/blobs/sha256");
        let blob = fs::read_dir(blobs).unwrap().flatten().max_by_key(|blob| blob.metadata().unwrap().len()).unwrap();
        fs::write(blob.path(), "short").unwrap();
    });
    for (root, reason) in [
        (&worker_lost, "workerid is lost"),
        (&worker_changed, "workerid is not the one"),
        (&keys_lost, "no cache key leads to a step's layer"),
        (&blob_cut, "is missing or cut short"),
    ] {
        let (verdict, reasons) = said(root.path(), &none).await;
        assert_eq!(verdict, Verdict::NotWarm);
        assert!(reasons.contains(reason), "{reasons}");
    }
}

#[tokio::test]
async fn a_record_that_was_lost_is_told_from_one_that_was_removed() {
    let root = fixture::root();
    let path = root.path().join("runc-overlayfs/metadata_v2.db");
    let mut bytes = fs::read(&path).unwrap();
    // A record's id in the bucket of records; in the index and in other records it stands behind something else.
    let id = b"lxhl7ni2ema6g6edzev0tcp0w";
    let places: Vec<usize> = (0..bytes.len() - id.len()).filter(|at| &bytes[*at..*at + id.len()] == id).collect();
    for at in places {
        bytes[at + id.len() - 1] = b'x';
    }
    fs::write(&path, bytes).unwrap();
    let (verdict, reasons) = said(root.path(), &["extracted=0"]).await;
    assert_eq!(verdict, Verdict::NotWarm);
    assert!(reasons.contains("lacks 1 record that cache.db leads to and whose content is still held"), "{reasons}");
}

#[tokio::test]
async fn a_result_in_a_record_that_is_written_in_place_is_damage() {
    let root = fixture::root();
    let path = root.path().join("runc-overlayfs/metadata_v2.db");
    let mut bytes = fs::read(&path).unwrap();
    let field = b"snapshot.committed";
    let places: Vec<usize> = (0..bytes.len() - field.len()).filter(|at| bytes[*at..].starts_with(field)).collect();
    for at in places {
        bytes[at + field.len() - 1] = b'e';
    }
    fs::write(&path, bytes).unwrap();
    let (verdict, reasons) = said(root.path(), &["extracted=0"]).await;
    assert_eq!(verdict, Verdict::NotWarm);
    assert!(reasons.contains("records that metadata_v2.db says are written in place"), "{reasons}");
}

#[tokio::test]
async fn a_root_that_cannot_be_read_says_what_to_do() {
    let error = check(job_of(Path::new("/nowhere")), CancellationToken::new(), Events::nobody()).await.unwrap_err();
    let failure = Failure::of(&error).unwrap();
    assert_eq!((failure.kind, failure.hint.as_str()), (Kind::Environment, "name the state root with --root"));
}

#[tokio::test]
async fn a_manifest_is_held_against_the_root() {
    let root = fixture::root();
    let file = root.path().join("manifest.json");
    let records = ["woi3vungegqzghnh3krji8igd", "i5qak5gmociczek4402o6zadq", "gone"].map(str::to_owned).to_vec();
    Manifest { records, ..Manifest::new() }.write(&file, &Marks::Masked).unwrap();
    let state = inspect::read(root.path()).unwrap();
    let user = User { version: "v0.32.2".to_owned(), found: String::new(), is_named: true };
    let looked = Looked {
        user,
        snapshotter: "overlayfs".to_owned(),
        leftovers: inspect::leftovers(root.path(), &state).unwrap(),
        collection: collection::collection(root.path(), None, &state).unwrap(),
        state,
        deep: None,
    };
    let job = Job { manifest: Some(file.clone()), ..job_of(root.path()) };
    let report = summary::report(&job, &looked, &[], Some(&Manifest::read(&file).unwrap()));
    let promise = report.manifest.unwrap();
    assert_eq!((promise.records, promise.extracted), (3, 1));
    assert_eq!(promise.absent, ["i5qak5gmociczek4402o6zadq", "gone"]);
    assert!(report.head.reasons.contains(&"1 of 3 layers the manifest promises are extracted".to_owned()));
}
