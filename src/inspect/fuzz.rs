//! Doors for the fuzzer (`tests/fuzz`): everything that reads foreign bytes, without the disk. Nothing may panic, hang or
//! take memory out of proportion.

use std::path::Path;

use super::blobs::Blobs;
use super::bolt::{Bucket, Database};
use super::gc::{Disk, Policy};
use super::records::Record;
use super::snapshots::{self, Snapshots, signed_varint, unsigned_varint};
use super::solver::{self, Solver};

/// Reads the bytes as each of the databases.
pub fn database(bytes: &[u8]) {
    let by_page = Database::page_by_page(bytes.to_vec());
    let Ok(database) = Database::from_bytes(bytes.to_vec()) else { return assert!(by_page.is_err()) };
    assert!(by_page.is_ok());
    let root = database.root();
    let records: Vec<Record> = root
        .path(["_main"])
        .into_iter()
        .flat_map(Bucket::buckets)
        .map(|(id, fields)| Record::read(&String::from_utf8_lossy(id), fields))
        .collect();
    assert!(records.iter().all(|record| record.parents.len() <= bytes.len()));
    let nowhere = Path::new("/nonexistent");
    let rows = snapshots::rows(Some(&database), nowhere, "overlayfs").expect("nothing there");
    drop(Snapshots::read(root.path(["v1", "buildkit"]), rows, "overlayfs"));
    drop(root.path(["v1"]).map(|namespaces| Blobs::read(namespaces, nowhere.to_owned())));
    let solver = Solver::read(Some(&database));
    assert!(solver.results.len() <= bytes.len() && solver.damaged <= bytes.len());
}

/// Reads the bytes as each kind of value.
pub fn values(bytes: &[u8]) {
    let _ = (unsigned_varint(bytes), signed_varint(bytes));
    let _ = solver::target(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let disk = Disk { total: 1 << 40, free: 1 << 30 };
        let _ = Policy::of_toml(text, disk);
        let _ =
            Policy::of_toml(&format!("[[worker.oci.gcpolicy]]\nfilters = [{text:?}]\nmaxUsedSpace = {text:?}"), disk);
    }
}
