//! The same results under other sessions. BuildKit finds a directory, and at times what was made of it, by the session it came
//! from; a later build has another one, and finds only what is known by its content.
//!
//! A definition is changed where it names the session, byte for byte: names and digests keep their lengths, and a field that a
//! newer BuildKit added stays as it is.

use std::collections::HashMap;

use bollard_buildkit_proto::pb;
use prost::Message as _;

use super::materialize::{Order, Request};
use crate::digest;

/// Has requests ask under other sessions: of each, the old id and the new one, which are equally long. Gives the new digests
/// of vertices by the old ones.
pub(crate) fn in_other_sessions(requests: &mut [Request], sessions: &[(String, String)]) -> HashMap<String, String> {
    let mut digests = HashMap::new();
    for request in requests {
        if let Some((_, new)) = sessions.iter().find(|(old, _)| *old == request.session) {
            request.session.clone_from(new);
        }
        let orders = request.first.iter_mut().chain(&mut request.tips).chain(&mut request.images);
        for Order { definition, .. } in orders.chain(&mut request.middles) {
            for operation in &mut definition.def {
                rename(operation, sessions, &mut digests);
            }
            let metadata = std::mem::take(&mut definition.metadata).into_iter();
            let named = metadata.map(|(vertex, metadata)| (digests.get(&vertex).cloned().unwrap_or(vertex), metadata));
            definition.metadata = named.collect();
        }
    }
    digests
}

/// What an operation is made from comes before it.
fn rename(bytes: &mut Vec<u8>, sessions: &[(String, String)], digests: &mut HashMap<String, String>) {
    let Ok(operation) = pb::Op::decode(bytes.as_slice()) else { return };
    let mut renamed = bytes.clone();
    if let Some(pb::op::Op::Source(source)) = &operation.op
        && source.identifier.starts_with("local://")
    {
        sessions.iter().for_each(|(old, new)| replace(&mut renamed, old, new));
    }
    for input in &operation.inputs {
        if let Some(new) = digests.get(&input.digest) {
            replace(&mut renamed, &input.digest, new);
        }
    }
    if renamed != *bytes {
        digests.insert(digest::sha256(&*bytes), digest::sha256(&renamed));
        *bytes = renamed;
    }
}

fn replace(bytes: &mut [u8], old: &str, new: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_a_directory_is_asked_for_under_the_other_session() {
        let source = |session: &str| {
            let attrs = [("local.session".to_owned(), session.to_owned())].into();
            let source = pb::SourceOp { identifier: "local://context".into(), attrs };
            pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() }.encode_to_vec()
        };
        let made_of = |bytes: &[u8]| {
            let input = pb::Input { digest: digest::sha256(bytes), index: 0 };
            pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec()
        };
        let metadata = pb::OpMetadata { ignore_cache: true, ..pb::OpMetadata::default() };
        let definition = |session: &str| {
            let (local, image) = (source(session), b"\x0a\x00".to_vec());
            let step = made_of(&local);
            let metadata = [(digest::sha256(&step), metadata.clone())].into();
            pb::Definition { def: vec![image, local, step.clone(), made_of(&step)], metadata, ..Default::default() }
        };
        let order = |session: &str| Order { name: "step".into(), definition: definition(session) };
        let mut requests = [Request { session: "old1".into(), tips: vec![order("old1")], ..Request::default() }];
        let digests = in_other_sessions(&mut requests, &[("old1".into(), "new2".into())]);
        assert_eq!((requests[0].session.as_str(), &requests[0].tips[0].definition), ("new2", &definition("new2")));
        let step = digest::sha256(made_of(&source("old1")));
        assert_eq!(digests.get(&step), Some(&digest::sha256(made_of(&source("new2")))));
        assert!(!digests.contains_key(&digest::sha256(b"\x0a\x00")));
    }
}
