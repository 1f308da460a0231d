//! A manifest for people: what was warmed, what each step is made of, which directories it read.

use super::Page;
use crate::manifest::{Context, Manifest, Step};
use crate::report::words::{bytes, count, short_digest};

/// Longer values are cut; the JSON has them whole.
const VALUE_CHARACTERS: usize = 100;

/// The manifest.
pub(crate) fn text(manifest: &Manifest) -> String {
    let mut page = Page::default();
    page.section("made", [format!("{} by cachewarm {}", manifest.created_at, manifest.version)]);
    let commit = manifest.commit.iter().map(|commit| format!(" at {commit}"));
    page.section("source", [format!("{}{}", manifest.source, commit.collect::<String>())]);
    let snapshotter = manifest.snapshotter.as_deref().unwrap_or("unknown snapshotter");
    let worker = &manifest.worker_id;
    page.section("builder", [format!("BuildKit {}, {snapshotter}, worker {worker}", manifest.buildkit_version)]);
    page.section("frontends", manifest.frontends.iter().cloned());
    page.section(
        "caches",
        manifest.donors.iter().map(|(reference, digest)| {
            format!("{reference} {}", digest.as_deref().map(short_digest).unwrap_or_default())
        }),
    );
    let sizes = format!("{} compressed, {} unpacked", bytes(manifest.bytes_compressed), bytes(manifest.bytes_unpacked));
    let records = count(manifest.records.len(), "record");
    page.section("layers", [format!("{} in {records}; {sizes}", manifest.layers)]);
    page.section("contexts", manifest.contexts.iter().map(context));
    page.gap();
    for step in &manifest.steps {
        page.section("", std::iter::once(step.name.clone()).chain(made_of(manifest, step)));
    }
    page.text
}

fn context(context: &Context) -> String {
    let entries = count(context.entries.len() + context.left_out, "entry").replace("entrys", "entries");
    let excluded = match context.excluded.is_empty() {
        true => String::new(),
        false => format!("; without {}", context.excluded.join(" ")),
    };
    format!("{}: {entries}{excluded}", context.name)
}

fn made_of(manifest: &Manifest, step: &Step) -> Vec<String> {
    let field = |(name, value): (&String, &String)| {
        let line = value.replace('\n', " ");
        let cut: String = line.chars().take(VALUE_CHARACTERS).collect();
        let more = if cut.len() < line.len() { "…" } else { "" };
        format!("  {name}: {cut}{more}")
    };
    let input = |input: &crate::manifest::Input| {
        let paths = if input.paths.is_empty() { String::new() } else { format!(" ({})", input.paths.join(" ")) };
        format!("  from {}{paths}", manifest.steps[input.step].name)
    };
    step.key.iter().map(field).chain(step.inputs.iter().map(input)).collect()
}
