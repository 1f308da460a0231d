//! Files that are those of an archive, and files that are not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;

/// An archive of entries: kind, path, mode, and content or target.
fn archive(entries: &[(EntryType, &str, u32, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (kind, path, mode, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_size(0);
        match kind {
            EntryType::Symlink | EntryType::Link => archive.append_link(&mut header, path, content).unwrap(),
            _ => {
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

const ENTRIES: [(EntryType, &str, u32, &str); 6] = [
    (EntryType::Directory, "dir/", 0o755, ""),
    (EntryType::Regular, "dir/file", 0o644, "content"),
    (EntryType::Regular, "dir/set-user-id", 0o4755, "program"),
    (EntryType::Symlink, "dir/link", 0o777, "../etc/passwd"),
    (EntryType::Link, "dir/again", 0o644, "dir/file"),
    (EntryType::Regular, "top", 0o600, ""),
];

/// Those entries on disk.
fn unpacked() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bytes = archive(&ENTRIES);
    let mut archive = Archive::new(bytes.as_slice());
    archive.set_preserve_permissions(true);
    archive.unpack(folder.path()).unwrap();
    folder
}

fn compared(files: &Path, archive: &[u8]) -> Contents {
    compare(files, archive, |_| true).unwrap().unwrap()
}

#[test]
fn what_was_unpacked_is_the_same() {
    let folder = unpacked();
    assert_eq!(compared(folder.path(), &archive(&ENTRIES)), Contents { compared: 6, wrong: BTreeMap::new() });
}

#[test]
fn each_damage_is_named() {
    type Damage = (fn(&Path), &'static str);
    let damages: [Damage; 8] = [
        (|dir| fs::write(dir.join("file"), "Content").unwrap(), "its dir/file has other content"),
        (|dir| fs::write(dir.join("file"), "").unwrap(), "its dir/file has 0 bytes instead of 7"),
        (|dir| fs::remove_file(dir.join("again")).unwrap(), "its dir/again is not there"),
        (
            |dir| fs::set_permissions(dir.join("set-user-id"), fs::Permissions::from_mode(0o755)).unwrap(),
            "its dir/set-user-id has the mode 0755 instead of 4755",
        ),
        (|dir| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap(), "its dir has the mode 0700"),
        (
            |dir| {
                fs::remove_file(dir.join("link")).unwrap();
                symlink("/etc/shadow", dir.join("link")).unwrap();
            },
            "its dir/link points elsewhere",
        ),
        (
            |dir| {
                fs::remove_file(dir.join("file")).unwrap();
                fs::create_dir(dir.join("file")).unwrap();
            },
            "its dir/file is a directory instead of a file",
        ),
        (
            |dir| {
                fs::write(dir.join("file"), "").unwrap();
                fs::write(dir.join("set-user-id"), "PROGRAM").unwrap();
            },
            "its dir/file has 0 bytes instead of 7; 1 more of 6 differ",
        ),
    ];
    for (damage, what) in damages {
        let folder = unpacked();
        damage(&folder.path().join("dir"));
        let fault = compared(folder.path(), &archive(&ENTRIES)).fault().unwrap();
        assert!(fault.starts_with(what), "{fault}");
    }
}

#[test]
fn an_entry_that_went_through_a_link_is_not_judged_and_none_leads_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "content").unwrap();
    // One link leads to a file of the snapshot, one to a file of this machine.
    symlink("/", folder.path().join("inside")).unwrap();
    symlink(&file, folder.path().join("outside")).unwrap();
    let entries = [
        (EntryType::Regular, "lib/x", 0o644, "content"),
        (EntryType::Regular, "inside/file", 0o644, "content"),
        (EntryType::Regular, "outside/x", 0o644, "content"),
    ];
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(compared(folder.path(), &archive(&entries)), Contents::default());
    for path in ["../file", "a/../../file"] {
        assert_eq!(inside(path.as_bytes()), None);
    }
    assert_eq!(inside(b"./a//b/").unwrap(), Path::new("a/b"));
    assert_eq!(inside(b"./"), None);
}

#[test]
fn the_last_word_of_an_archive_counts() {
    let folder = unpacked();
    let earlier = [
        (EntryType::Regular, "dir/file", 0o644, "an earlier one"),
        (EntryType::Regular, "gone", 0o644, "removed"),
        (EntryType::Regular, ".wh.gone", 0o644, ""),
        (EntryType::Regular, ".wh..wh..opq", 0o644, ""),
    ];
    let entries = [&earlier[..], &ENTRIES[..]].concat();
    assert_eq!(compared(folder.path(), &archive(&entries)).fault(), None);
}

#[test]
fn a_sparse_file_is_not_judged_by_its_map() {
    let folder = unpacked();
    let mut archive = Builder::new(Vec::new());
    archive.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
    let mut header = Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(4);
    archive.append_data(&mut header, "dir/file", &b"1\n0\n"[..]).unwrap();
    let compared = compared(folder.path(), &archive.into_inner().unwrap());
    assert_eq!(compared, Contents::default());
}

#[test]
fn a_blob_that_is_no_archive_proves_nothing_and_one_that_cannot_be_read_is_an_error() {
    let (folder, blobs) = (unpacked(), tempfile::tempdir().unwrap());
    let compared = |name: &str| compare_with_blob(folder.path(), &blobs.path().join(name), |_| true);
    fs::write(blobs.path().join("archive"), archive(&ENTRIES)).unwrap();
    fs::write(blobs.path().join("other"), [7; 5000]).unwrap();
    fs::create_dir(blobs.path().join("directory")).unwrap();
    assert_eq!(compared("archive").unwrap().unwrap().compared, 6);
    assert_eq!(compared("other").unwrap(), None);
    assert!(compared("directory").is_err() && compared("absent").is_err());
    assert!(compare_with_blob(&folder.path().join("absent"), &blobs.path().join("archive"), |_| true).is_err());
}

#[test]
fn it_stops_when_it_is_told_to() {
    let folder = unpacked();
    assert_eq!(compare(folder.path(), archive(&ENTRIES).as_slice(), |_| false).unwrap(), None);
}

proptest! {
    #[test]
    fn no_archive_is_too_odd(flips in prop::collection::vec((0_usize..5000, 0_u32..8), 1..20), end in 0_usize..5000) {
        let folder = unpacked();
        let mut bytes = archive(&ENTRIES);
        for (at, bit) in flips {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate(end.max(1));
        let _ = compare(folder.path(), bytes.as_slice(), |_| true);
    }
}
