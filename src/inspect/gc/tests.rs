//! Policies as BuildKit makes them, and what they do to records of our own making.

use std::collections::HashMap;
use std::fs;

use proptest::prelude::*;

use super::filter::Filter;
use super::*;
use crate::inspect::fixture;
use crate::inspect::records::Record;
use crate::inspect::worker::Worker;
use crate::inspect::{RecordType, read};

const GB: u64 = 1_000_000_000;
const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;
/// Now, in nanoseconds since 1970.
const NOW: i64 = 2000 * DAY;
const HUGE: Disk = Disk { total: 1_000_000 * GB, free: 900_000 * GB };

fn record(id: &str, bytes: u64, parents: &[&str], used_days_ago: i64, used: i64) -> Record {
    Record {
        counted_bytes: Some(bytes),
        parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        last_used_at: Some(NOW - used_days_ago * DAY),
        usage_count: used,
        committed: true,
        ..Record::empty(id)
    }
}

fn worker(records: impl IntoIterator<Item = Record>) -> (tempfile::TempDir, Worker) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("runc-native")).unwrap();
    let mut worker = Worker::read(&folder.path().join("runc-native"), "native").unwrap();
    worker.records = records.into_iter().map(|record| (record.id.clone(), record)).collect();
    (folder, worker)
}

fn evicted(worker: &Worker, toml: &str, disk: Disk) -> Vec<String> {
    let policy = Policy::of_toml(toml, disk).unwrap();
    forecast(worker, &policy, disk, NOW).evicted.into_iter().map(|eviction| eviction.record).collect()
}

fn limits(policy: &Policy) -> Vec<[u64; 3]> {
    policy.rules.iter().map(|rule| [rule.reserved, rule.max_used, rule.min_free]).collect()
}

#[test]
fn the_default_policy_is_a_share_of_the_disk() {
    // `buildctl debug workers -v` on a disk of 270 GB.
    let disk = Disk { total: 270_113_759_232, free: 100 * GB };
    let capped = [10 * GB, 100 * GB, 51 * GB];
    let expected = [[0, 512_000_000, 0], capped, capped, capped];
    assert_eq!(limits(&Policy::default_on(disk)), expected);
    assert_eq!(limits(&Policy::of_toml("[worker.oci]\ngc = true", disk).unwrap()), expected);
    let small = Disk { total: 10 * GB, free: GB };
    assert_eq!(limits(&Policy::default_on(small))[2], [GB, 8 * GB, 2 * GB]);
}

#[test]
fn a_configuration_sets_limits_or_rules_or_turns_it_off() {
    let of = |toml: &str| Policy::of_toml(toml, HUGE).unwrap();
    assert!(of("[worker.oci]\ngc = false").rules.is_empty());
    let limited = of("[worker.oci]\nreservedSpace = \"1GB\"\nmaxUsedSpace = 5000\nminFreeSpace = \"0\"");
    assert_eq!(limits(&limited)[3], [1 << 30, 5000, 0]);
    assert_eq!(limits(&of("[worker.oci]\ngckeepstorage = \"180MB\""))[3], [180 << 20, 0, 0]);
    let own = of("[[worker.oci.gcpolicy]]\nall = true\nkeepBytes = \"1g\"\nkeepDuration = \"1h30m\"\n\
        [[worker.oci.gcpolicy]]\nkeepDuration = 60\nfilters = [\"type==regular\"]");
    assert_eq!((own.is_default, limits(&own)), (false, vec![[1 << 30, 0, 0], [0, 0, 0]]));
    assert_eq!([own.rules[0].keep_duration.as_secs(), own.rules[1].keep_duration.as_secs()], [5400, 60]);
    for wrong in ["[worker.oci]\nmaxUsedSpace = \"x\"", "[[worker.oci.gcpolicy]]\nfilters = [\"a=b\"]", "worker = 1"] {
        assert!(Policy::of_toml(wrong, HUGE).is_err(), "{wrong}");
    }
}

#[test]
fn a_cache_below_its_limit_keeps_everything_whatever_its_age() {
    let (_folder, worker) = worker([record("old", 100, &[], 500, 1), record("new", 100, &[], 0, 1)]);
    assert_eq!(evicted(&worker, "[worker.oci]\nmaxUsedSpace = 201", HUGE), [""; 0]);
    assert_eq!(evicted(&worker, "", HUGE), [""; 0]);
}

#[test]
fn leaves_go_first_and_the_longest_unused_of_them() {
    let records = [
        record("base", 100, &[], 9, 5),
        record("left", 100, &["base"], 3, 1),
        record("right", 100, &["base"], 2, 1),
        record("top", 100, &["right"], 1, 1),
    ];
    let (_folder, worker) = worker(records);
    assert_eq!(evicted(&worker, "[worker.oci]\nmaxUsedSpace = 250", HUGE), ["left", "top"]);
    assert_eq!(evicted(&worker, "[worker.oci]\nmaxUsedSpace = 250\nreservedSpace = 400", HUGE), ["left"]);
    assert_eq!(evicted(&worker, "[worker.oci]\nmaxUsedSpace = 250\nreservedSpace = 401", HUGE), [""; 0]);
    assert_eq!(evicted(&worker, "[worker.oci]\nmaxUsedSpace = 1", HUGE), ["left", "top", "right", "base"]);
}

#[test]
fn what_nobody_used_goes_before_everything_else() {
    let unused = Record { last_used_at: None, ..record("unused", 100, &[], 0, 0) };
    let (_folder, worker) = worker([record("used", 100, &[], 400, 1), unused]);
    assert_eq!(evicted(&worker, "[worker.oci]\nmaxUsedSpace = 200", HUGE), ["unused"]);
}

#[test]
fn free_space_is_that_of_before_for_every_rule() {
    let records = ["a", "b", "c", "d", "e"].map(|id| record(id, GB, &[], 1, 1));
    let (_folder, worker) = worker(records);
    // 1 GB is missing; the last two of the default rules each make room for it.
    let disk = Disk { total: 100 * GB, free: 10 * GB };
    let found = evicted(&worker, "[worker.oci]\nminFreeSpace = 11000000000", disk);
    assert_eq!(found.len(), 4);
}

#[test]
fn internal_records_and_frontends_are_spared_until_a_rule_means_all() {
    let of_type = |id, record_type| Record { record_type, ..record(id, 100, &[], 1, 1) };
    let records =
        [of_type("f", RecordType::Frontend), of_type("i", RecordType::Internal), of_type("r", RecordType::Regular)];
    let (_folder, worker) = worker(records);
    let rule = "[[worker.oci.gcpolicy]]\nmaxUsedSpace = 1\n";
    assert_eq!(evicted(&worker, rule, HUGE), ["r"]);
    assert_eq!(evicted(&worker, &format!("{rule}all = true"), HUGE).len(), 3);
}

#[test]
fn a_local_source_counts_once_and_goes_after_two_days_from_a_large_cache() {
    let mutable = Record { committed: false, record_type: RecordType::LocalSource, ..record("m", 100, &[], 3, 1) };
    let immutable = Record { equal_mutable: Some("m".into()), ..record("i", 100, &[], 3, 1) };
    let large = record("large", GB, &[], 3, 1);
    let fresh = Record { last_used_at: Some(NOW - DAY), id: "fresh".into(), ..mutable.clone() };
    let (_folder, worker) = worker([mutable, immutable, large, fresh]);
    let policy = Policy::default_on(HUGE);
    let found = forecast(&worker, &policy, HUGE, NOW);
    assert_eq!(found.total, GB + 200);
    assert_eq!(found.evicted.iter().map(|eviction| eviction.record.as_str()).collect::<Vec<_>>(), ["m"]);
}

#[test]
fn filters_are_containerd_s() {
    let git = Record {
        record_type: RecordType::GitCheckout,
        description: "git snapshot, a".into(),
        ..record("x", 1, &["p", "q"], 0, 0)
    };
    let about = |text: &str| Filter::parse(text).unwrap().is_about(&git);
    for text in
        ["", "id==x", "type==source.git.checkout,immutable", "parents==p;q", "description~=^git", "private", "id!=y"]
    {
        assert!(about(text), "{text}");
    }
    assert!(about(r#"description=="git snapshot, a""#));
    for text in ["mutable", "shared", "inuse", "nothing", "id==y", "type==source.git.checkout,id==y"] {
        assert!(!about(text), "{text}");
    }
    for wrong in ["=x", "id=x", "id==", "id==x,", "id==\"x", "id~=(", ",", "id==\"x\"y"] {
        assert!(Filter::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_bytes_of_a_real_root_are_its_blobs_and_its_files() {
    let root = fixture::root();
    let state = read(root.path()).unwrap();
    let everything = Policy::of_toml("[[worker.oci.gcpolicy]]\nall = true", HUGE).unwrap();
    let found = forecast(&state.workers[0], &everything, HUGE, NOW);
    assert_eq!((found.bytes(), found.evicted.len()), (found.total, found.evicted.len()));
    assert!(found.total > 1_068_252 + 1_990_656, "{}", found.total);
    assert!(!found.evicted.iter().any(|eviction| eviction.record == "i5qak5gmociczek4402o6zadq"), "it is lazy");
}

proptest! {
    #[test]
    fn nothing_goes_before_what_stands_on_it_and_no_more_than_needed(
        rows in prop::collection::vec((1u64..50, prop::option::of(0usize..20), 0i64..5, 0i64..4), 1..20),
        keep in 1u64..400,
    ) {
        let ids: Vec<String> = (0..rows.len()).map(|number| format!("{number:02}")).collect();
        let records = rows.iter().enumerate().map(|(at, (bytes, parent, age, used))| {
            let parents: Vec<&str> = parent.filter(|parent| *parent < at).map(|parent| ids[parent].as_str()).into_iter().collect();
            record(&ids[at], *bytes, &parents, *age, *used)
        });
        let (_folder, worker) = worker(records);
        let toml = format!("[[worker.oci.gcpolicy]]\nmaxUsedSpace = {keep}");
        let policy = Policy::of_toml(&toml, HUGE).unwrap();
        let found = forecast(&worker, &policy, HUGE, NOW);
        let order: HashMap<&str, usize> =
            found.evicted.iter().enumerate().map(|(at, eviction)| (eviction.record.as_str(), at)).collect();
        for record in worker.records.values() {
            for parent in &record.parents {
                if let Some(at) = order.get(parent.as_str()) {
                    prop_assert!(order.get(record.id.as_str()).is_some_and(|child| child < at));
                }
            }
        }
        prop_assert!(found.total - found.bytes() < keep || found.bytes() == found.total);
        let last = found.evicted.last().map_or(0, |eviction| eviction.bytes);
        prop_assert!(found.evicted.is_empty() || found.total - found.bytes() + last >= keep);
    }

    #[test]
    fn any_configuration_is_read_without_a_panic(text in ".{0,80}", limit in ".{0,12}", filter in ".{0,30}") {
        let _ = Policy::of_toml(&text, HUGE);
        let _ = Policy::of_toml(&format!("[worker.oci]\nmaxUsedSpace = {limit:?}"), HUGE);
        let _ = Filter::parse(&filter);
    }
}
