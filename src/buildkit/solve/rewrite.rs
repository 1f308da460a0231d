//! Definitions whose operations are changed byte for byte: a field that a newer BuildKit added stays as it is. What is made
//! from a changed operation names it by its new digest, and so has a new one itself.

use std::collections::HashMap;

use bollard_buildkit_proto::pb;
use prost::Message as _;

use crate::digest;

/// Changes a definition's operations; to `digests` go the new digests of vertices by the old ones.
pub(super) fn rewrite(
    definition: &mut pb::Definition,
    digests: &mut HashMap<String, String>,
    change: impl Fn(&pb::Op, &mut Vec<u8>),
) {
    // What an operation is made from comes before it.
    for bytes in &mut definition.def {
        let Ok(operation) = pb::Op::decode(bytes.as_slice()) else { continue };
        let mut changed = bytes.clone();
        change(&operation, &mut changed);
        for input in &operation.inputs {
            if let Some(new) = digests.get(&input.digest) {
                replace(&mut changed, &input.digest, new);
            }
        }
        if changed != *bytes {
            digests.insert(digest::sha256(&*bytes), digest::sha256(&changed));
            *bytes = changed;
        }
    }
    let metadata = std::mem::take(&mut definition.metadata).into_iter();
    let named = metadata.map(|(vertex, metadata)| (digests.get(&vertex).cloned().unwrap_or(vertex), metadata));
    definition.metadata = named.collect();
}

/// Puts a text in the place of another one that is equally long.
pub(super) fn replace(bytes: &mut [u8], old: &str, new: &str) {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    if old.len() != new.len() || old.is_empty() {
        return;
    }
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(old.len()).position(|window| window == old) {
        bytes[at + found..at + found + old.len()].copy_from_slice(new);
        at += found + old.len();
    }
}
