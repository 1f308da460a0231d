//! The report for machines: `schema: 1`, pretty-printed, one document.

use super::Reported;

/// The report as JSON, ending with a line break.
///
/// # Errors
/// None that the types of a report allow; serde's signature has one.
pub(crate) fn json(report: &impl Reported) -> anyhow::Result<String> {
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// The paths of all fields: `builder.kind`, `donors[].ref`.
    fn fields(value: &serde_json::Value, path: &str, found: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => {
                let inner = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                object.iter().for_each(|(name, value)| fields(value, &inner(name), found));
            }
            serde_json::Value::Array(array) if array.iter().any(serde_json::Value::is_object) => {
                array.iter().for_each(|value| fields(value, &format!("{path}[]"), found));
            }
            _ => drop(found.insert(path.to_owned())),
        }
    }

    #[test]
    fn the_fields_of_a_check_are_the_contract() {
        let mut found = std::collections::BTreeSet::new();
        for report in [crate::report::sample_check::checked(), crate::report::sample_check::cold()] {
            let json = serde_json::from_str(&json(&report).expect("it is written")).expect("it is JSON");
            fields(&json, "", &mut found);
        }
        let found: Vec<String> = found.into_iter().collect();
        insta::assert_snapshot!(found.join("\n"), @"
        build
        builder.address
        builder.buildkit_version
        builder.kind
        builder.state_root
        cache.damaged
        cache.dangling
        cache.keys
        cache.links
        cache.present
        cache.records
        cache.results
        cache.scratch
        cache.unknown_worker
        command
        deep.blob_bytes
        deep.blobs
        deep.compared
        deep.faults
        deep.faults[].blob
        deep.faults[].snapshot
        deep.faults[].what
        deep.faults[].worker
        deep.files
        deep.snapshots
        deep.unpacked_bytes
        donors[].bytes
        donors[].coverage.absent
        donors[].coverage.blob_only
        donors[].coverage.broken
        donors[].coverage.doomed
        donors[].coverage.extracted
        donors[].coverage.lazy
        donors[].coverage.legacy
        donors[].coverage.phantom
        donors[].coverage.total
        donors[].covered
        donors[].digest
        donors[].layers
        donors[].problem
        donors[].ref
        donors[].unpacked_again_bytes
        donors[].usable
        frontends.blob_only
        frontends.broken
        frontends.bytes_compressed
        frontends.bytes_unpacked
        frontends.doomed
        frontends.extracted
        frontends.lazy
        frontends.phantom
        frontends.total
        frontends.unmaterialised
        gc.advice
        gc.config
        gc.disk_bytes
        gc.disk_free_bytes
        gc.enabled
        gc.evicted
        gc.evicted_bytes
        gc.evicted_layers
        gc.limit
        gc.total_bytes
        hit_rate
        layers.blob_only
        layers.broken
        layers.bytes_compressed
        layers.bytes_unpacked
        layers.doomed
        layers.extracted
        layers.lazy
        layers.phantom
        layers.total
        layers.unmaterialised
        leftovers.lock
        leftovers.partial_downloads
        leftovers.partial_downloads[].bytes
        leftovers.partial_downloads[].expected
        leftovers.partial_downloads[].ref
        leftovers.spoiled_databases
        leftovers.stray_blobs
        leftovers.stray_bytes
        leftovers.stray_directories
        leftovers.stray_snapshots
        leftovers.unfinished_copies
        manifest
        manifest.absent
        manifest.commit
        manifest.created_at
        manifest.extracted
        manifest.file
        manifest.records
        notes
        phases[].name
        phases[].seconds
        reasons
        records[].blob
        records[].bytes_compressed
        records[].bytes_unpacked
        records[].chain_id
        records[].class
        records[].created_at
        records[].description
        records[].diff_id
        records[].evicted
        records[].id
        records[].last_used_at
        records[].layer
        records[].loss
        records[].parents
        records[].record_type
        records[].results
        records[].snapshot
        records[].snapshotter
        records[].spare
        records[].survives
        records[].usage_count
        requirements[].found
        requirements[].least
        requirements[].met
        requirements[].name
        requirements[].of
        schema
        steady
        targets
        transfer.blobs
        transfer.bytes
        transfer.extracted
        transfer.failed_attempts
        transfer.p50
        transfer.p95
        transfer.p99
        transfer.seconds
        transfer.sources
        used_by.buildkit_version
        used_by.found
        used_by.named
        used_by.stopped
        used_by.unpacked_again
        used_by.unpacked_again_bytes
        used_by.writers
        verdict
        version
        workers[].id
        workers[].layers.blob_only
        workers[].layers.broken
        workers[].layers.bytes_compressed
        workers[].layers.bytes_unpacked
        workers[].layers.doomed
        workers[].layers.extracted
        workers[].layers.lazy
        workers[].layers.phantom
        workers[].layers.total
        workers[].layers.unmaterialised
        workers[].records
        workers[].snapshotter
        ");
    }

    #[test]
    fn the_fields_are_the_contract() {
        let mut report = sample::warm();
        report.donors.truncate(1);
        report.targets.truncate(1);
        report.targets[0].stages.truncate(1);
        insta::assert_snapshot!(json(&report).expect("it is written"), @r#"
        {
          "schema": 1,
          "command": "warm",
          "version": "0.1.0",
          "build": "0123456 2026-11-28 x86_64-unknown-linux-gnu",
          "verdict": "warm",
          "reasons": [],
          "notes": [
            "build arg UNUSED is consumed by no stage"
          ],
          "source": {
            "location": "https://git.example/shop.git",
            "rev": "main",
            "commit": "1f2e3d4c5b6a798877665544332211000a0b0c0d",
            "changed": 0,
            "untracked": 0,
            "modes": "umask=022"
          },
          "builder": {
            "kind": "spawn",
            "address": "/usr/local/bin/buildkitd",
            "buildkit_version": "v0.32.2",
            "state_root": "/var/lib/buildkit"
          },
          "donors": [
            {
              "ref": "registry.example/shop/cache:main",
              "digest": "sha256:1f2e3d4c5b6aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
              "usable": true,
              "layers": 11,
              "bytes": 1288490189,
              "problem": null
            }
          ],
          "resolved_by_every_build": [
            "docker.io/library/debian:bookworm"
          ],
          "targets": [
            {
              "name": "app",
              "stage": "runtime",
              "steps": 12,
              "hits": 11,
              "ran": 1,
              "stages": [
                {
                  "name": "base",
                  "steps": 4,
                  "hits": 4,
                  "ran": 0
                }
              ]
            }
          ],
          "steps": [
            {
              "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000022",
              "name": "[base 1/4] FROM debian",
              "stage": "base",
              "targets": [
                "app"
              ],
              "state": "hit",
              "reason": null
            },
            {
              "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000020",
              "name": "[build 2/2] RUN make",
              "stage": "build",
              "targets": [
                "app"
              ],
              "state": "ran",
              "reason": {
                "kind": "no-record",
                "what": "no donor has a record of this step",
                "detail": "RUN make\nexit 0",
                "remedy": "export the cache of main again"
              }
            }
          ],
          "layers": {
            "total": 11,
            "extracted": 11,
            "blob_only": 0,
            "lazy": 0,
            "phantom": 0,
            "broken": 0,
            "doomed": 0,
            "unmaterialised": 0,
            "bytes_compressed": 1288490189,
            "bytes_unpacked": 3650722202
          },
          "frontends": null,
          "transfer": {
            "bytes": 1288490189,
            "blobs": 11,
            "extracted": 11,
            "sources": [
              {
                "ref": "registry.example/team/cache:main",
                "bytes": 1200000000,
                "blobs": 10
              },
              {
                "ref": "images",
                "bytes": 88490189,
                "blobs": 1
              }
            ],
            "failed_attempts": 2,
            "seconds": 14.2,
            "p50": 1.2,
            "p95": 4.0,
            "p99": 5.1,
            "fetch": {
              "by": "cachewarm",
              "why": null,
              "connections": 16,
              "blobs": 11,
              "bytes": 1288490189,
              "seconds": 14.0,
              "parts": 90,
              "retried": 3,
              "resumed": 2,
              "left": []
            }
          },
          "proof": {
            "on": "shadow",
            "results": 24,
            "fetched": [],
            "extracted": [],
            "ran": [],
            "errors": []
          },
          "phases": [
            {
              "name": "source",
              "seconds": 1.2
            },
            {
              "name": "donors",
              "seconds": 0.3
            },
            {
              "name": "materialize",
              "seconds": 71.0
            }
          ],
          "hit_rate": 0.923
        }
        "#);
    }
}
