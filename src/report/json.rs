//! The report for machines: `schema: 1`, pretty-printed, one document.

use super::Report;

/// The report as JSON, ending with a line break.
///
/// # Errors
/// None that the types of a report allow; serde's signature has one.
pub(crate) fn json(report: &Report) -> anyhow::Result<String> {
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

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
          "verdict": "warm",
          "reasons": [],
          "notes": [
            "build arg UNUSED is consumed by no stage"
          ],
          "source": {
            "location": "https://git.example/shop.git",
            "rev": "main",
            "commit": "1f2e3d4c5b6a798877665544332211000a0b0c0d"
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
            "seconds": 14.2,
            "p50": 1.2,
            "p95": 4.0,
            "p99": 5.1
          },
          "proof": {
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
