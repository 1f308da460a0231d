//! The report for Prometheus: gauges of the last run, as node_exporter's textfile collector reads them
//! (`--report prometheus=/var/lib/node_exporter/cachewarm.prom`). Source: Prometheus' text exposition format, 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Facts, StepState, Verdict};

/// A family of gauges.
struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
    command: &'t str,
}

impl Family<'_> {
    /// One of them; `labels` come after the command's.
    fn gauge(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let mut all = format!("command=\"{}\"", escaped(self.command));
        for (label, value) in labels {
            // Writing to a String cannot fail.
            let _ = write!(all, ",{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.text, "{}{{{all}}} {value}", self.name);
        self
    }
}

/// The report as gauges.
pub(crate) fn prometheus(facts: &Facts<'_>) -> String {
    let mut text = String::new();
    let mut family = |name: &'static str, help: &str, gauges: &dyn Fn(&mut Family<'_>)| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        gauges(&mut Family { text: &mut text, name, command: facts.head.command });
    };
    family("cachewarm_info", "Versions of the last run.", &|family| {
        let versions = [("version", facts.head.version), ("buildkit_version", facts.builder.buildkit_version.as_str())];
        family.gauge(&versions, 1.0);
    });
    family("cachewarm_verdict", "Verdict of the last run: 1 for the one that holds.", &|family| {
        for verdict in Verdict::of_command(facts.head.command) {
            let holds = if *verdict == facts.head.verdict { 1.0 } else { 0.0 };
            family.gauge(&[("verdict", verdict.name())], holds);
        }
    });
    if let Some(rate) = facts.hit_rate {
        family("cachewarm_hit_ratio", "Hits among the steps of the build.", &|family| {
            family.gauge(&[], rate);
        });
        family("cachewarm_steps", "Steps of the build by what became of them.", &|family| {
            for state in [StepState::Hit, StepState::Ran, StepState::Miss, StepState::Unknown] {
                let number = facts.steps.iter().filter(|step| step.state == state).count();
                family.gauge(&[("state", state.words())], number as f64);
            }
        });
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in facts.steps.iter().filter_map(|step| step.reason.as_ref()) {
            *reasons.entry(&reason.kind).or_default() += 1;
        }
        family("cachewarm_step_reasons", "Steps that are no hits by the kind of the reason.", &|family| {
            for (kind, number) in &reasons {
                family.gauge(&[("kind", kind)], *number as f64);
            }
        });
    }
    if let Some(layers) = facts.layers {
        let states = [
            ("extracted", layers.extracted),
            ("blob-only", layers.blob_only),
            ("lazy", layers.lazy),
            ("phantom", layers.phantom),
            ("broken", layers.broken),
            ("doomed", layers.doomed),
            ("unmaterialised", layers.unmaterialised),
        ];
        family("cachewarm_layers", "Layers by what lies on disk of them.", &|family| {
            for (state, number) in states {
                family.gauge(&[("state", state)], number as f64);
            }
        });
        family("cachewarm_layer_bytes", "Bytes of the layers on disk.", &|family| {
            let forms = [("compressed", layers.bytes_compressed), ("unpacked", layers.bytes_unpacked)];
            for (form, bytes) in forms {
                family.gauge(&[("form", form)], bytes as f64);
            }
        });
    }
    let transfer = facts.transfer;
    family("cachewarm_fetched_bytes", "Compressed bytes of the blobs that were fetched.", &|family| {
        family.gauge(&[], transfer.bytes as f64);
    });
    family("cachewarm_fetched_blobs", "Blobs that were fetched.", &|family| {
        family.gauge(&[], transfer.blobs as f64);
    });
    family("cachewarm_bytes", "Compressed bytes by where they came from: a registry, or the disk.", &|family| {
        for source in &transfer.sources {
            family.gauge(&[("tier", "registry"), ("source", &source.reference)], source.bytes as f64);
        }
        if let Some(layers) = facts.layers {
            let there = layers.bytes_compressed.saturating_sub(transfer.bytes);
            family.gauge(&[("tier", "disk"), ("source", "state root")], there as f64);
        }
    });
    family(
        "cachewarm_registry_errors",
        "Attempts that failed and were made again, and caches not usable.",
        &|family| {
            let unusable = facts.donors.iter().filter(|donor| !donor.usable).count();
            for (kind, number) in [("attempt", transfer.failed_attempts), ("donor", unusable)] {
                family.gauge(&[("kind", kind)], number as f64);
            }
        },
    );
    family("cachewarm_blob_seconds", "Time a blob took to be fetched, by quantile.", &|family| {
        for (quantile, value) in [("0.5", transfer.p50), ("0.95", transfer.p95), ("0.99", transfer.p99)] {
            family.gauge(&[("quantile", quantile)], value);
        }
    });
    family("cachewarm_phase_seconds", "Time a phase took.", &|family| {
        for phase in facts.phases {
            family.gauge(&[("phase", &phase.name)], phase.seconds);
        }
    });
    text
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Reported, sample};

    #[test]
    fn the_gauges_of_a_run() {
        insta::assert_snapshot!(prometheus(&sample::warm().facts()));
    }

    proptest! {
        #[test]
        fn no_label_breaks_its_line(value in ".{0,40}") {
            let line = regex::Regex::new(r#"^x\{command="c",l="([^"\\\n]|\\["\\n])*"\} 1\n$"#).unwrap();
            let mut text = String::new();
            Family { text: &mut text, name: "x", command: "c" }.gauge(&[("l", &value)], 1.0);
            prop_assert!(line.is_match(&text), "{text}");
        }
    }
}
