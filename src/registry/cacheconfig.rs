//! Whether BuildKit would understand a cache config: layers, how they stack, and which cache keys lead to them.
//!
//! Pure. Source: `cache/remotecache/v1/{parse.go,types/spec.go}` of BuildKit.

use serde::Deserialize;

use super::manifest::null_is_default;
use crate::digest::is_digest;

/// `application/vnd.buildkit.cacheconfig.v0`: layers, and cache keys with what they lead to.
#[derive(Deserialize)]
struct CacheConfig {
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<Layer>,
    #[serde(default, deserialize_with = "null_is_default")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Layer {
    /// The digest of the compressed blob.
    #[serde(default)]
    blob: String,
    /// The layer below; -1 is "none". Go leaves the key out when it is 0, so a missing one is layer 0.
    #[serde(default)]
    parent: i64,
}

/// One cache key and what it leads to.
#[derive(Deserialize)]
struct Record {
    /// Per input, the alternatives that match it.
    #[serde(default, deserialize_with = "null_is_default")]
    inputs: Vec<Vec<Input>>,
    /// Results that are the chain ending in a layer.
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<LayerResult>,
    /// Results that are an explicit list of layers (merges).
    #[serde(default, deserialize_with = "null_is_default")]
    chains: Vec<ChainResult>,
}

#[derive(Deserialize)]
struct Input {
    /// The record that must have matched.
    #[serde(default)]
    link: i64,
}

#[derive(Deserialize)]
struct LayerResult {
    #[serde(default)]
    layer: i64,
}

#[derive(Deserialize)]
struct ChainResult {
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<i64>,
}

/// A layer as a cache config names it: its blob, and the place of the layer below it.
pub(super) type NamedLayer = (String, Option<usize>);

/// Reads a cache config as BuildKit does; gives its layers.
///
/// # Errors
/// One sentence: it is no JSON, or BuildKit would refuse it for an index out of bounds, a loop, or an empty input.
pub(super) fn check(bytes: &[u8]) -> Result<Vec<NamedLayer>, String> {
    let config: CacheConfig =
        serde_json::from_slice(bytes).map_err(|error| format!("the cache config is not one: {error}"))?;
    let count = config.layers.len();
    for layer in &config.layers {
        if !is_digest(&layer.blob) {
            return Err(format!("`{:.80}` in the cache config is no digest", layer.blob));
        }
        if layer.parent != -1 {
            within(layer.parent, count, "layer")?;
        }
    }
    let parents: Vec<Vec<usize>> =
        config.layers.iter().map(|layer| usize::try_from(layer.parent).into_iter().collect()).collect();
    if let Some(layer) = loop_in(&parents) {
        return Err(format!("layer {layer} of the cache config lies on itself"));
    }
    check_records(&config.records, count)?;
    Ok(config.layers.into_iter().map(|layer| (layer.blob, usize::try_from(layer.parent).ok())).collect())
}

/// The same for an inline cache: `records` is its JSON, and the image has so many layers, each on the last.
///
/// # Errors
/// As for [`check`].
pub(super) fn check_inline(records: &[u8], layers: usize) -> Result<(), String> {
    let records: Option<Vec<Record>> =
        serde_json::from_slice(records).map_err(|error| format!("the inline cache is not one: {error}"))?;
    check_records(&records.unwrap_or_default(), layers)
}

fn check_records(records: &[Record], layer_count: usize) -> Result<(), String> {
    let mut links = Vec::with_capacity(records.len());
    for (number, record) in records.iter().enumerate() {
        if record.inputs.iter().any(Vec::is_empty) {
            return Err(format!("record {number} of the cache config has an input nothing can match"));
        }
        let inputs = record.inputs.iter().flatten().map(|input| within(input.link, records.len(), "record"));
        links.push(inputs.collect::<Result<Vec<_>, _>>()?);
        let results = record.layers.iter().map(|result| result.layer);
        for layer in results.chain(record.chains.iter().flat_map(|chain| chain.layers.iter().copied())) {
            within(layer, layer_count, "layer")?;
        }
    }
    match loop_in(&links) {
        Some(record) => Err(format!("record {record} of the cache config depends on itself")),
        None => Ok(()),
    }
}

fn within(index: i64, count: usize, what: &str) -> Result<usize, String> {
    let index = usize::try_from(index).ok().filter(|index| *index < count).ok_or(index);
    index.map_err(|index| format!("the cache config names {what} {index} of {count}"))
}

/// A node that can reach itself. Iterative: a foreign file may be deeper than our stack.
fn loop_in(edges: &[Vec<usize>]) -> Option<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    for start in 0..edges.len() {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.pop() {
            if next == 0 {
                match marks[node] {
                    Mark::Done => continue,
                    Mark::Open => return Some(node),
                    Mark::New => marks[node] = Mark::Open,
                }
            }
            match edges[node].get(next) {
                Some(target) => path.extend([(node, next + 1), (*target, 0)]),
                None => marks[node] = Mark::Done,
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(number: usize) -> String {
        format!("sha256:{number:064x}")
    }

    fn checked(text: &str) -> Result<Vec<NamedLayer>, String> {
        let text = (0..4).fold(text.to_owned(), |text, number| text.replace(&format!("BLOB{number}"), &digest(number)));
        check(text.as_bytes())
    }

    #[test]
    fn what_buildkit_writes_is_taken() {
        for text in [
            r#"{"layers": [{"blob": "BLOB0", "parent": -1}, {"blob": "BLOB1"}, {"blob": "BLOB2", "parent": 1}]}"#,
            r#"{"layers": [{"blob": "BLOB0", "parent": -1}], "records": [
                {"digest": "a", "layers": [{"layer": 0, "createdAt": "2024-01-01T00:00:00Z"}]},
                {"digest": "b", "inputs": [[{"link": 0, "selector": "s"}, {}]]}]}"#,
            r#"{"layers": [{"blob": "BLOB0", "parent": -1}], "records": [{"chains": [{"layers": [0, 0]}]}]}"#,
            r#"{"layers": null, "records": null}"#,
        ] {
            assert!(checked(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_missing_parent_is_layer_0_and_only_minus_one_is_none() {
        let text =
            r#"{"layers": [{"blob": "BLOB0", "parent": -1}, {"blob": "BLOB1"}, {"blob": "BLOB2", "parent": 1}]}"#;
        assert_eq!(checked(text), Ok(vec![(digest(0), None), (digest(1), Some(0)), (digest(2), Some(1))]));
    }

    #[test]
    fn an_inline_cache_names_the_layers_of_its_image() {
        assert_eq!(check_inline(br#"[{"layers": [{"layer": 1}]}]"#, 2), Ok(()));
        assert!(check_inline(br#"[{"layers": [{"layer": 2}]}]"#, 1).unwrap_err().contains("layer 2 of 1"));
    }

    #[test]
    fn what_is_out_of_bounds_or_loops_is_refused() {
        for (text, expected) in [
            (r#"{"layers": [{"blob": "BLOB0"}]}"#, "lies on itself"),
            (r#"{"layers": [{"blob": "BLOB0", "parent": 1}, {"blob": "BLOB1"}]}"#, "lies on itself"),
            (r#"{"layers": [{"blob": "BLOB0", "parent": 1}]}"#, "layer 1 of 1"),
            (r#"{"layers": [{"blob": "BLOB0", "parent": -2}]}"#, "layer -2 of 1"),
            (r#"{"layers": [{"blob": "x", "parent": -1}]}"#, "no digest"),
            (r#"{"records": [{"layers": [{}]}]}"#, "layer 0 of 0"),
            (r#"{"records": [{"chains": [{"layers": [7]}]}]}"#, "layer 7 of 0"),
            (r#"{"records": [{"inputs": [[{"link": 1}]]}]}"#, "record 1 of 1"),
            (r#"{"records": [{"inputs": [[]]}]}"#, "nothing can match"),
            (r#"{"records": [{"inputs": [[{"link": 1}]]}, {"inputs": [[{"link": 0}]]}]}"#, "depends on itself"),
            (r#"{"layers": 1}"#, "not one"),
        ] {
            let error = checked(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_very_deep_config_does_not_exhaust_the_stack() {
        let count = 20_000;
        let layers: Vec<_> =
            (0..count).map(|n| format!(r#"{{"blob":"{}","parent":{}}}"#, digest(n), n as i64 - 1)).collect();
        let records: Vec<_> = (1..=count).map(|n| format!(r#"{{"inputs":[[{{"link":{n}}}]]}}"#)).collect();
        let text = format!(r#"{{"layers":[{}],"records":[{},{{}}]}}"#, layers.join(","), records.join(","));
        assert_eq!(check(text.as_bytes()).map(|layers| layers.len()), Ok(count));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}:,\"a-z0-9-]{0,200}") {
            let _ = check(&bytes);
            let _ = check_inline(text.as_bytes(), 1);
        }

        #[test]
        fn a_config_is_taken_when_every_chain_of_layers_ends(parents in prop::collection::vec(-2i64..6, 0..6)) {
            let layers: Vec<_> = parents.iter().map(|parent| serde_json::json!({"blob": digest(1), "parent": parent})).collect();
            let below = |layer: i64| usize::try_from(layer).ok().and_then(|layer| parents.get(layer).copied());
            // A chain that visits more layers than there are loops; one that ends elsewhere than at -1 is out of bounds.
            let ends = |start: i64| (0..=parents.len()).try_fold(start, |layer, _| below(layer).ok_or(layer)) == Err(-1);
            let taken = check(serde_json::json!({"layers": layers}).to_string().as_bytes()).is_ok();
            prop_assert_eq!(taken, parents.iter().all(|parent| ends(*parent)));
        }
    }
}
