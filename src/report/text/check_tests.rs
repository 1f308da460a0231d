//! What a person reads of a root that is warm, and of one that is not.

use super::*;
use crate::report::sample_check::{checked, cold};

#[test]
fn a_warm_root_reads_calmly() {
    insta::assert_snapshot!(text(&checked()), @"
    state root /var/lib/buildkit
    workers    overlayfs hciw0d8jxu7vb60gl4p4kkbll: 18 records
    used by    BuildKit v0.34.2 (buildkitd in PATH), as nothing else was said
               written by BuildKit v0.34.0 or later
    layers     11 of 11 extracted; on disk 12 MiB compressed, 22 MiB unpacked
    frontends  1 of 1 extracted; on disk 0 B compressed, 0 B unpacked
    results    21 cache keys lead to 17 results in 11 layers
    caches     registry.example/shop/cache:main: 11 layers, 12 MiB, sha256:1f2e3d4c5b6a
                 11 of 11 extracted
    manifest   manifest.json of 1f2e3d4c5b6a, made 2026-01-01T00:00:00Z: 12 of 12 layers extracted
    deep       16 blobs hashed (19 MiB), 319 files of 12 snapshots counted, those of 11 compared with their blobs: as recorded
    gc         nothing of 60 MiB would go by BuildKit's default policy on this disk

    required   11 of 11 layers with results are extracted and survive a restart (at least 100 %)
               11 of 11 layers of the caches are extracted and survive a restart (at least 100 %)
    time       read 3 ms; 3 ms in all

    verdict    warm
    ");
}

#[test]
fn a_root_that_is_not_warm_says_what_is_amiss_and_ends_with_its_reasons() {
    insta::assert_snapshot!(text(&cold()), @r#"
    state root /var/lib/buildkit, read while a daemon wrote to it
    workers    overlayfs without its id: 18 records
    used by    BuildKit v0.34.2 (buildkitd in PATH), as nothing else was said
               written by BuildKit v0.34.0 or later
               the last one did not stop cleanly: what it wrote last may not be on the disk
    layers     1 of 3 extracted; on disk 0 B compressed, 0 B unpacked
               1 blob only: fetched, not unpacked
               1 lazy: not even fetched
    results    3 cache keys lead to 3 results in 3 layers
               2 dangling: the record is gone, and the next start forgets them
               1 of a worker that is not here: the next start forgets them
    caches     registry.example/shop/cache:main: 11 layers, 12 MiB, sha256:1f2e3d4c5b6a
                 1 of 8 extracted, 1 unpacked again (5.0 MiB), 1 blob only, 1 lazy, 1 phantom, 1 broken, 1 dropped by a restart, 1 not here at all
    deep       1 blob hashed (0 B), 0 files of 0 snapshots counted: not as recorded:
                 sha256:bb: it is not what it was
                 snapshot 7 of runc-overlayfs: it is not what it was
    leftovers  1 unfinished download, 3.0 MiB; the next goes on from there
               1 snapshot half unpacked; it is unpacked anew from its blob; BuildKit's garbage collection removes such
               2 snapshots that nothing uses; BuildKit's garbage collection removes such
               1 blob that the content store does not list, 2.0 KiB
               cache.db.k3j.bak: put aside by BuildKit as damaged
               the lock of a daemon that did not stop cleanly, or runs elsewhere
    gc         1 layer, 3.0 MiB of 60 MiB, would go at the next start by the policy of /etc/buildkit/buildkitd.toml on this disk
                 because of maxUsedSpace is 50 MiB, and the cache takes 60 MiB (rule 3)
                 to do: set reservedSpace = "1GB" in [worker.oci] of buildkitd.toml

    not warm   lazy: imported bb; a restart drops it: it is not on disk
               blob-only: imported cc

    required   1 of 3 layers with results are extracted and survive a restart (at least 95 %, too few)
    time       read 3 ms; 3 ms in all
    notes      a daemon wrote while the root was read

    verdict    not warm
               - 2 of 3 layers with results are not usable as they are: 1 lazy, 1 blob-only
    "#);
}
