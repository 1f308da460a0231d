//! What a source policy makes of a build's sources. BuildKit exchanges them where it loads a definition, and from then on
//! speaks of every operation above them by another digest (`solver/llbsolver/vertex.go` of BuildKit). Who is to understand it
//! needs the definition as BuildKit loads it; loading that once more changes nothing.
//!
//! Which source becomes which is for BuildKit itself to say, before anything is built: there it also refuses what the policy
//! denies.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use bollard_buildkit_proto::pb;
use prost::Message as _;
use prost::encoding::encode_varint;

use super::request::Build;
use super::rewrite::rewrite;

/// The field of an operation that is a source (`solver/pb/ops.proto`), and those of a source and of its attributes.
const SOURCE: u8 = 3;
const IDENTIFIER: u8 = 1;
const ATTRIBUTES: u8 = 2;
const KEY: u8 = 1;
const VALUE: u8 = 2;

/// Changes a definition to what BuildKit makes of it under the build's policy.
///
/// # Errors
/// When the policy denies a source, or BuildKit cannot say what becomes of one.
pub(super) async fn convert(build: &Build, definition: &mut pb::Definition) -> anyhow::Result<()> {
    let mut changed: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for bytes in &definition.def {
        let operation = pb::Op::decode(bytes.as_slice()).context("decoding an LLB operation")?;
        let Some(pb::op::Op::Source(old)) = operation.op else { continue };
        let new = build.under_policy(old.clone(), operation.platform).await?;
        if new != old {
            changed.insert(bytes.clone(), exchanged(bytes, &old, &new)?);
        }
    }
    rewrite(definition, &mut HashMap::new(), |_, bytes| {
        if let Some(new) = changed.get(bytes) {
            bytes.clone_from(new);
        }
    });
    Ok(())
}

/// An operation with another source in the place of its own.
fn exchanged(operation: &[u8], old: &pb::SourceOp, new: &pb::SourceOp) -> anyhow::Result<Vec<u8>> {
    let (old, new) = (field(SOURCE, &encoded(old)), field(SOURCE, &encoded(new)));
    let places: Vec<usize> = (0..operation.len()).filter(|at| operation[*at..].starts_with(&old)).collect();
    ensure!(places.len() == 1, "an operation has its source in a form that is not known");
    let (before, after) = (&operation[..places[0]], &operation[places[0] + old.len()..]);
    Ok([before, &new, after].concat())
}

/// A source as Go writes it where it is to be the same every time: its attributes in order, none of their fields left out.
fn encoded(source: &pb::SourceOp) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !source.identifier.is_empty() {
        bytes.extend(field(IDENTIFIER, source.identifier.as_bytes()));
    }
    let mut attributes: Vec<_> = source.attrs.iter().collect();
    attributes.sort();
    for (key, value) in attributes {
        let entry = [field(KEY, key.as_bytes()), field(VALUE, value.as_bytes())].concat();
        bytes.extend(field(ATTRIBUTES, &entry));
    }
    bytes
}

/// A field that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_exchanged_and_nothing_beside_it() {
        let source = |identifier: &str, attrs: &[(&str, &str)]| pb::SourceOp {
            identifier: identifier.to_owned(),
            attrs: attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let old = source("https://e.example/a", &[("b", ""), ("a", "1")]);
        let new = source(&format!("https://e.example/{}", "long".repeat(50)), &[("c", "2")]);
        // What Go puts before it, and what a newer BuildKit may have added behind.
        let (platform, added) = (field(10, b"\x0a\x05amd64"), field(15, b"new"));
        let bytes = [platform.clone(), field(SOURCE, &encoded(&old)), added.clone()].concat();
        let exchanged = exchanged(&bytes, &old, &new).expect("it is there");
        assert_eq!(exchanged, [platform, field(SOURCE, &encoded(&new)), added].concat());
        let Some(pb::op::Op::Source(read)) = pb::Op::decode(&exchanged[..]).expect("sound").op else { panic!("none") };
        assert_eq!(read, new);
        assert!(super::exchanged(&bytes, &new, &old).is_err());
    }
}
