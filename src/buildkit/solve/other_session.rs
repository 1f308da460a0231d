//! The same results under other sessions. BuildKit finds a directory, and at times what was made of it, by the session it came
//! from; a later build has another one, and finds only what is known by its content.
//!
//! A definition is changed where it names the session; names keep their lengths.

use std::collections::HashMap;

use bollard_buildkit_proto::pb;

use super::materialize::{Order, Request};
use super::rewrite::{replace, rewrite};

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
            rewrite(definition, &mut digests, |operation, bytes| rename(operation, bytes, sessions));
        }
    }
    digests
}

fn rename(operation: &pb::Op, bytes: &mut [u8], sessions: &[(String, String)]) {
    if let Some(pb::op::Op::Source(source)) = &operation.op
        && source.identifier.starts_with("local://")
    {
        sessions.iter().for_each(|(old, new)| replace(bytes, old, new));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::digest;

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
