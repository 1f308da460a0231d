//! What the state root of the fixture says, whole and damaged.

use std::fs::{self, File};
use std::path::Path;

use proptest::prelude::*;

use super::classify::Loss;
use super::fixture::{CACHE, CONTAINERD, WORKER, root};
use super::snapshots::{signed_varint, unsigned_varint};
use super::solver::Solver;
use super::*;

const BASE: &str = "woi3vungegqzghnh3krji8igd";
const SHARED: &str = "p2gek8suwlp4goqm35du31duo";
const OPENED: &str = "lxhl7ni2ema6g6edzev0tcp0w";
const EXPORTED: &str = "lloqx7pzbcohv1pzimoyoyxgi";
const MATCHED: &str = "i5qak5gmociczek4402o6zadq";
const BELOW_MATCHED: &str = "xmoqva3ruat3rhh5i2iwubg8h";

fn blob_path(root: &Path, digest: &str) -> std::path::PathBuf {
    root.join("runc-overlayfs/content/blobs").join(digest.replace(':', "/"))
}

fn lost(record: &str, loss: Loss) -> Survival {
    Survival::Lost { record: record.to_owned(), loss }
}

#[test]
fn every_layer_of_a_real_root_is_told_by_what_lies_behind_it() {
    let root = root();
    let state = read(root.path()).unwrap();
    assert!(state.steady);
    let worker = state.worker_with_id(WORKER).unwrap();
    let found = |id: &str| (worker.records[id].class, worker.records[id].survival.clone());
    for extracted in [BASE, SHARED, "s76xgldm1u8xrxftmac24bgom", OPENED] {
        assert_eq!(found(extracted), (Class::Extracted, Survival::Survives));
    }
    assert_eq!(found(EXPORTED), (Class::BlobOnly, Survival::Survives));
    assert_eq!(found(BELOW_MATCHED), (Class::Lazy, lost(BELOW_MATCHED, Loss::Lazy)));
    assert_eq!(found(MATCHED), (Class::Lazy, lost(MATCHED, Loss::Lazy)));
    let base = &worker.records[BASE];
    assert_eq!((base.compressed_bytes_on_disk, base.unpacked_bytes_on_disk), (1_064_332, 1_990_656));
    assert_eq!((base.snapshot_number, base.is_warm()), (Some(4), true));

    let tally = Tally::of(worker.records.values());
    let expected = Tally { total: 8, extracted: 4, blob_only: 2, lazy: 2, bytes_compressed: 1_068_252, ..tally };
    assert_eq!(tally, Tally { bytes_unpacked: 1_990_656 + 20_480 + 2 * 8_192, doomed: 0, broken: 0, ..expected });
}

/// These were restarted on buildkitds of their own versions, which kept six of the layers and dropped two.
#[test]
fn roots_of_older_versions_are_read_alike() {
    for version in ["v0.12.5", "v0.16.0", "v0.20.2", "v0.25.2"] {
        let root = fixture::root_of(version);
        let state = read(root.path()).unwrap();
        let tally = Tally::of(state.workers[0].records.values());
        let found = [tally.total, tally.extracted, tally.blob_only, tally.lazy, tally.broken, tally.doomed];
        assert_eq!(found, [8, 3, 3, 2, 0, 0], "{version}");
        let kept = state.workers[0].records.values().filter(|record| record.is_layer() && record.survival.survives());
        assert_eq!(kept.count(), 6, "{version}");
        let Solver { present, keys, links, ref results, damaged } = state.solver;
        assert_eq!((present, keys, links, results.len(), damaged), (true, 25, 26, 18, 0), "{version}");
        assert_eq!(state.workers[0].lost.len(), 0, "{version}");
    }
}

#[test]
fn a_local_source_is_not_a_layer_in_either_of_its_two_records() {
    let root = root();
    let state = read(root.path()).unwrap();
    let worker = &state.workers[0];
    let (immutable, mutable) = (&worker.records["j1j64djai35gkwzb5ddcrl7ry"], "j0gri9mj1zz5abrcpwoljsylw");
    assert_eq!((immutable.class, immutable.record_type.clone()), (Class::LocalUnfinalised, RecordType::LocalSource));
    assert_eq!((immutable.equal_mutable.as_deref(), immutable.snapshot_number), (Some(mutable), Some(3)));
    assert_eq!(worker.records[mutable].class, Class::Mutable);
    assert!(!immutable.is_layer() && !worker.records[mutable].is_layer());
}

#[test]
fn a_chain_is_a_record_with_its_ancestors_and_tells_which_do_not_exist() {
    let root = root();
    let state = read(root.path()).unwrap();
    let chain = state.workers[0].chain(MATCHED);
    let ids: Vec<_> = chain.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, [MATCHED, BELOW_MATCHED, SHARED, BASE]);
    assert!(chain.missing.is_empty());
    assert_eq!(state.workers[0].chain("absent").missing, ["absent"]);
}

#[test]
fn a_record_is_found_by_its_content() {
    let root = root();
    let state = read(root.path()).unwrap();
    let worker = &state.workers[0];
    let imported: Vec<_> = worker.records.values().filter(|record| record.blob.is_some()).collect();
    assert_eq!(imported.len(), 8);
    for record in imported {
        let found = worker.records_by_chain_id(record.chain_id.as_deref().unwrap());
        assert_eq!(found.map(|found| &found.id).collect::<Vec<_>>(), [&record.id]);
    }
}

#[test]
fn a_layer_whose_directory_is_gone_breaks_everything_above_it() {
    let root = root();
    fs::remove_dir_all(root.path().join("runc-overlayfs/snapshots/snapshots/5/fs")).unwrap();
    let state = read(root.path()).unwrap();
    let records = &state.workers[0].records;
    assert_eq!(records[SHARED].class, Class::Broken);
    assert_eq!((records[OPENED].class, &records[OPENED].survival), (Class::Extracted, &lost(SHARED, Loss::Broken)));
    assert!(!records[OPENED].is_warm() && records[BASE].is_warm());
    let tally = Tally::of(records.values());
    assert_eq!((tally.extracted, tally.doomed, tally.broken, tally.blob_only), (1, 4, 1, 0));
}

#[test]
fn a_blob_that_was_cut_short_is_broken_not_local() {
    let root = root();
    let digest = "sha256:b1012e6f47d56d9911106a2cac751f3867de30ca93a1fd58dff15975b9213af1";
    File::create(blob_path(root.path(), digest)).unwrap().set_len(98).unwrap();
    let state = read(root.path()).unwrap();
    assert_eq!(state.workers[0].records[EXPORTED].class, Class::Broken);
    assert_eq!(state.workers[0].records[EXPORTED].compressed_bytes_on_disk, 0);
}

#[test]
fn each_directory_that_is_no_readable_root_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, directories: &[&str]| {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        directories.iter().for_each(|directory| fs::create_dir_all(path.join(directory)).unwrap());
        path
    };
    assert!(matches!(read(&folder.path().join("absent")), Err(Unreadable::Missing(_))));
    assert!(matches!(read(&made("empty", &[])), Err(Unreadable::NotARoot(_))));
    assert!(matches!(read(&made("containerd", &["containerd-overlayfs"])), Err(Unreadable::ContainerdWorker(_))));
    assert!(matches!(read(&made("docker", &["buildkit", "image"])), Err(Unreadable::Dockerd(_))));
    let inner = made("docker/buildkit", &["content"]);
    fs::write(inner.join("containerdmeta.db"), CONTAINERD).unwrap();
    assert!(matches!(read(&inner), Err(Unreadable::Dockerd(_))));
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(read(&file), Err(Unreadable::NotARoot(_))));
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert!(matches!(Unreadable::io(&file, denied), Unreadable::Denied(_)));

    let root = root();
    fs::write(root.path().join("cache.db"), &CACHE[..CACHE.len() / 2]).unwrap();
    let error = read(root.path()).unwrap_err();
    assert!(matches!(&error, Unreadable::Database(path, _) if path.ends_with("cache.db")));
    let chain = format!("{:#}", anyhow::Error::new(error));
    assert!(chain.contains("cache.db: torn database: "), "{chain}");
}

#[test]
fn a_root_whose_worker_was_never_used_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("runc-native")).unwrap();
    let state = read(folder.path()).unwrap();
    assert!(state.workers[0].records.is_empty());
    assert_eq!(state.workers[0].id, None);
}

#[test]
fn varints_are_those_of_go() {
    assert_eq!(unsigned_varint(&[0xAC, 0x02]), Some(300));
    assert_eq!(unsigned_varint(&[0xFF; 9].iter().copied().chain([1]).collect::<Vec<_>>()), Some(u64::MAX));
    assert_eq!(unsigned_varint(&[0xFF; 9].iter().copied().chain([2]).collect::<Vec<_>>()), None);
    assert_eq!([&[0][..], &[1], &[2], &[0xD7, 4]].map(signed_varint), [Some(0), Some(-1), Some(1), Some(-300)]);
    assert_eq!(unsigned_varint(&[0x80]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_root_of_damaged_databases_never_panics(
        flips in proptest::collection::vec((0..4usize, any::<prop::sample::Index>(), 0..8u8), 1..30),
    ) {
        let root = root();
        let files = ["cache.db", "runc-overlayfs/metadata_v2.db", "runc-overlayfs/containerdmeta.db", "runc-overlayfs/snapshots/metadata.db"];
        for (file, at, bit) in flips {
            let path = root.path().join(files[file]);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
        }
        if let Ok(state) = read(root.path()) {
            let chains = state.workers.iter().flat_map(|worker| worker.records.keys().map(|id| worker.chain(id)));
            prop_assert!(chains.map(|chain| chain.records.len()).sum::<usize>() < 1000);
        }
    }

    #[test]
    fn varints_of_any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = (unsigned_varint(&bytes), signed_varint(&bytes));
    }
}
