//! Reports of `check` and `seal` to test renderers with.

use super::check::*;
use super::seal::{SealReport, Searched};
use super::{Builder, Donor, Head, Layers, Phase, Transfer, Verdict};

fn record(id: &str, class: &'static str, loss: Option<&str>) -> Record {
    Record {
        id: id.to_owned(),
        snapshotter: "overlayfs".to_owned(),
        class,
        survives: loss.is_none(),
        loss: loss.map(str::to_owned),
        spare: false,
        layer: true,
        record_type: "regular".to_owned(),
        description: format!("imported {id}"),
        parents: Vec::new(),
        results: 1,
        blob: Some(format!("sha256:{id}")),
        diff_id: None,
        chain_id: None,
        snapshot: Some(1),
        bytes_compressed: 1_068_574,
        bytes_unpacked: 2_007_040,
        created_at: Some("2026-01-01T00:00:00Z".to_owned()),
        last_used_at: None,
        usage_count: 1,
        evicted: false,
    }
}

/// A root that is warm.
pub(crate) fn checked() -> CheckReport {
    let layers =
        Layers { total: 11, extracted: 11, bytes_compressed: 12 << 20, bytes_unpacked: 22 << 20, ..Layers::default() };
    let donor = Donor {
        reference: "registry.example/shop/cache:main".to_owned(),
        digest: Some(format!("sha256:1f2e3d4c5b6a{}", "a".repeat(52))),
        usable: true,
        layers: 11,
        bytes: 12 << 20,
        problem: None,
    };
    let requirement = |name: &str| Requirement { name: name.to_owned(), least: 1.0, of: 11, found: 11, met: true };
    CheckReport {
        head: Head {
            version: "0.1.0",
            build: "0123456 2026-11-28 x86_64-unknown-linux-gnu",
            ..Head::new("check", Verdict::Warm, Vec::new(), Vec::new())
        },
        builder: Builder {
            kind: "none".to_owned(),
            state_root: Some("/var/lib/buildkit".to_owned()),
            ..Builder::default()
        },
        donors: vec![CoveredDonor {
            donor,
            coverage: Coverage { total: 11, extracted: 11, ..Coverage::default() },
            unpacked_again_bytes: 0,
            covered: Vec::new(),
        }],
        targets: Vec::new(),
        layers,
        frontends: Layers { total: 1, extracted: 1, ..Layers::default() },
        transfer: Transfer::default(),
        phases: vec![Phase { name: "read".to_owned(), seconds: 0.003 }],
        hit_rate: None,
        used_by: UsedBy {
            buildkit_version: "v0.34.2".to_owned(),
            found: "buildkitd in PATH".to_owned(),
            writers: vec!["v0.34.0 or later".to_owned()],
            stopped: "clean",
            ..UsedBy::default()
        },
        requirements: vec![requirement("extracted"), requirement("donor")],
        steady: true,
        workers: vec![Worker {
            id: Some("hciw0d8jxu7vb60gl4p4kkbll".to_owned()),
            snapshotter: "overlayfs".to_owned(),
            records: 18,
            layers,
        }],
        cache: Cache { present: true, keys: 21, links: 22, results: 17, records: 11, ..Cache::default() },
        leftovers: Leftovers { lock: "absent", ..Leftovers::default() },
        gc: Gc {
            enabled: true,
            total_bytes: 60 << 20,
            disk_bytes: 270 << 30,
            disk_free_bytes: 80 << 30,
            ..Gc::default()
        },
        deep: Some(Deep {
            blobs: 16,
            blob_bytes: 19 << 20,
            snapshots: 12,
            compared: 11,
            files: 319,
            unpacked_bytes: 22 << 20,
            faults: Vec::new(),
        }),
        manifest: Some(Promise {
            file: "manifest.json".to_owned(),
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            commit: Some("1f2e3d4c5b6a798877665544332211000a0b0c0d".to_owned()),
            records: 12,
            extracted: 12,
            absent: Vec::new(),
        }),
        records: vec![record("aa", "extracted", None)],
    }
}

/// A root that lacks nearly everything, after a crash, on a full disk, with a daemon at work.
pub(crate) fn cold() -> CheckReport {
    let mut report = checked();
    report.head.verdict = Verdict::NotWarm;
    report.head.reasons = vec!["2 of 3 layers with results are not usable as they are: 1 lazy, 1 blob-only".to_owned()];
    report.head.notes = vec!["a daemon wrote while the root was read".to_owned()];
    report.steady = false;
    report.layers = Layers { total: 3, extracted: 1, lazy: 1, blob_only: 1, ..Layers::default() };
    report.frontends = Layers::default();
    report.workers[0].id = None;
    report.cache = Cache {
        present: true,
        keys: 3,
        results: 3,
        records: 3,
        dangling: 2,
        unknown_worker: 1,
        damaged: 1,
        ..Cache::default()
    };
    report.donors[0].coverage = Coverage {
        total: 8,
        extracted: 1,
        legacy: 1,
        blob_only: 1,
        lazy: 1,
        phantom: 1,
        broken: 1,
        doomed: 1,
        absent: 1,
    };
    report.donors[0].unpacked_again_bytes = 5 << 20;
    report.used_by.stopped = "not-clean";
    report.requirements.truncate(1);
    report.requirements[0] = Requirement { name: "extracted".to_owned(), least: 0.95, of: 3, found: 1, met: false };
    report.leftovers = Leftovers {
        partial_downloads: vec![PartialDownload {
            directory: "ingest/bb".into(),
            reference: "layer-sha256:bb".to_owned(),
            bytes: 3 << 20,
            expected: Some(9 << 20),
        }],
        stray_snapshots: vec!["extract-12 sha256:cc".to_owned(), "k3j".to_owned()],
        stray_directories: 1,
        unfinished_copies: Vec::new(),
        stray_blobs: 1,
        stray_bytes: 2048,
        spoiled_databases: vec!["cache.db.k3j.bak".to_owned()],
        lock: "stale",
    };
    report.gc.config = Some("/etc/buildkit/buildkitd.toml".to_owned());
    report.gc.evicted = vec!["aa".to_owned()];
    (report.gc.evicted_layers, report.gc.evicted_bytes) = (1, 3 << 20);
    report.gc.limit = Some("maxUsedSpace is 50 MiB, and the cache takes 60 MiB (rule 3)".to_owned());
    report.gc.advice = Some("set reservedSpace = \"1GB\" in [worker.oci] of buildkitd.toml".to_owned());
    let fault = |blob: Option<&str>, snapshot| Fault {
        worker: "runc-overlayfs".to_owned(),
        blob: blob.map(str::to_owned),
        snapshot,
        what: "it is not what it was".to_owned(),
    };
    report.deep =
        Some(Deep { blobs: 1, faults: vec![fault(Some("sha256:bb"), None), fault(None, Some(7))], ..Deep::default() });
    report.manifest = None;
    report.records.push(record("bb", "lazy", Some("a restart drops it: it is not on disk")));
    report.records.push(record("cc", "blob-only", None));
    report
}

/// A machine that is safe to snapshot.
pub(crate) fn sealed() -> SealReport {
    let checked = checked();
    SealReport {
        head: Head {
            version: "0.1.0",
            build: "0123456 2026-11-28 x86_64-unknown-linux-gnu",
            ..Head::new("seal", Verdict::Sealed, Vec::new(), Vec::new())
        },
        builder: checked.builder,
        layers: Some(checked.layers),
        transfer: Transfer::default(),
        phases: vec![Phase { name: "look".to_owned(), seconds: 2.0 }],
        hit_rate: Some(1.0),
        fix: true,
        findings: Vec::new(),
        searched: Searched {
            files: 1200,
            bytes: 5 << 20,
            secrets: ["secret npm", "build argument NPM_TOKEN"].map(str::to_owned).into(),
        },
        marker: Some("/var/lib/cachewarm/sealed.json".to_owned()),
    }
}
