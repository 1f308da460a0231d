//! A static source policy: which sources BuildKit refuses, and which it exchanges (`sourcepolicy/pb` of BuildKit). It is read
//! as docker buildx reads it (`ReadSourcePolicy` in its `build/build.go`), and applied by BuildKit itself.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule, Selector, Update,
};
use prost::Message as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::digest;

/// Bytes of the largest one that is read: it goes along with every build.
pub(crate) const SOURCE_POLICY_LIMIT: u64 = 4 * 1024 * 1024;

/// One that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourcePolicy {
    policy: Policy,
    /// `sha256:…` of its file.
    pub(crate) digest: String,
}

impl SourcePolicy {
    /// Reads a file's bytes: JSON, else protobuf. Fields that BuildKit does not have are refused, though buildx passes them
    /// over: who wrote `matchType` means something by it.
    ///
    /// # Errors
    /// When it is neither, or a rule selects nothing.
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<SourcePolicy> {
        let is_json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let policy = match is_json {
            true => serde_json::from_slice::<Written>(bytes).context("it is no source policy in JSON")?.into(),
            false => Policy::decode(bytes).context("it is a source policy neither in JSON nor in protobuf")?,
        };
        ensure!(policy.rules.iter().all(|rule| rule.selector.is_some()), "it has a rule without a selector");
        Ok(SourcePolicy { policy, digest: digest::sha256(bytes) })
    }

    /// As BuildKit is sent it.
    pub(super) fn message(&self) -> Policy {
        self.policy.clone()
    }
}

/// In JSON. Go takes null for what is not there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: Option<i64>,
    rules: Option<Vec<WrittenRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    #[serde(default, deserialize_with = "action")]
    action: i32,
    selector: Option<WrittenSelector>,
    updates: Option<WrittenUpdate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSelector {
    identifier: Option<String>,
    #[serde(default, deserialize_with = "match_type")]
    match_type: i32,
    constraints: Option<Vec<WrittenConstraint>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenConstraint {
    key: Option<String>,
    value: Option<String>,
    #[serde(default, deserialize_with = "condition")]
    condition: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUpdate {
    identifier: Option<String>,
    attrs: Option<HashMap<String, String>>,
}

impl From<Written> for Policy {
    fn from(written: Written) -> Policy {
        let constraint = |written: WrittenConstraint| AttrConstraint {
            key: written.key.unwrap_or_default(),
            value: written.value.unwrap_or_default(),
            condition: written.condition,
        };
        let selector = |written: WrittenSelector| Selector {
            identifier: written.identifier.unwrap_or_default(),
            match_type: written.match_type,
            constraints: written.constraints.unwrap_or_default().into_iter().map(constraint).collect(),
        };
        let update = |written: WrittenUpdate| Update {
            identifier: written.identifier.unwrap_or_default(),
            attrs: written.attrs.unwrap_or_default(),
        };
        let rule = |written: WrittenRule| Rule {
            action: written.action,
            selector: written.selector.map(selector),
            updates: written.updates.map(update),
        };
        Policy {
            version: written.version.unwrap_or_default(),
            rules: written.rules.unwrap_or_default().into_iter().map(rule).collect(),
        }
    }
}

fn action<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    word(from, |name| PolicyAction::from_str_name(name).map(i32::from), |number| PolicyAction::try_from(number).is_ok())
}

fn match_type<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    word(from, |name| MatchType::from_str_name(name).map(i32::from), |number| MatchType::try_from(number).is_ok())
}

fn condition<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    word(from, |name| AttrMatch::from_str_name(name).map(i32::from), |number| AttrMatch::try_from(number).is_ok())
}

/// One of BuildKit's words, by its name or its number.
fn word<'de, D: Deserializer<'de>>(
    from: D,
    named: impl Fn(&str) -> Option<i32>,
    is_known: impl Fn(i32) -> bool,
) -> Result<i32, D::Error> {
    let value = Value::deserialize(from)?;
    let read = || {
        let number = match &value {
            Value::String(name) => named(name),
            Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
            _ => None,
        };
        match number.filter(|number| is_known(*number)) {
            Some(number) => Ok(number),
            None => bail!("BuildKit does not know {value}"),
        }
    };
    read().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str) -> String {
        SourcePolicy::parse(text.as_bytes()).map_or_else(|error| format!("{error:#}"), |read| format!("{read:?}"))
    }

    #[test]
    fn a_policy_is_read_as_people_and_buildkit_write_it() {
        let json = r#"{"version": 1, "rules": [{"action": "CONVERT", "updates": {"attrs": {"http.checksum": "sha256:0"}},
            "selector": {"identifier": "https://e.example/*", "match_type": "REGEX",
                         "constraints": [{"key": "k", "value": "v", "condition": 2}]}},
            {"action": 1, "selector": {"identifier": "docker-image://*"}, "updates": null}]}"#;
        let read = SourcePolicy::parse(json.as_bytes()).expect("sound");
        let [convert, deny] = &read.policy.rules[..] else { panic!("{read:?}") };
        assert_eq!((convert.action(), deny.action()), (PolicyAction::Convert, PolicyAction::Deny));
        let selector = convert.selector.clone().expect("there is one");
        assert_eq!(
            (selector.match_type(), selector.constraints[0].condition()),
            (MatchType::Regex, AttrMatch::Matches)
        );
        assert_eq!(convert.updates.clone().expect("there is one").attrs["http.checksum"], "sha256:0");
        let binary = SourcePolicy::parse(&read.policy.encode_to_vec()).expect("sound");
        assert_eq!(binary.policy, read.policy);
        assert_ne!(binary.digest, read.digest);
        // An empty file is protobuf without a rule.
        assert_eq!(SourcePolicy::parse(b"").expect("sound").policy, Policy::default());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(problem(r#"{"rules": [{"selector": {"matchType": "REGEX"}}]}"#).contains("unknown field `matchType`"));
        assert!(problem(r#"{"rules": [{"action": "PIN", "selector": {}}]}"#).contains(r#"does not know "PIN""#));
        assert!(problem(r#"{"rules": [{"action": 3, "selector": {}}]}"#).contains("does not know 3"));
        assert!(problem(r#"{"rules": [{"action": "DENY"}]}"#).contains("without a selector"));
        assert!(problem(r#"{"rules": [{"action": "DENY", "action": "ALLOW", "selector": {}}]}"#).contains("duplicate"));
        for text in ["{\"rules\": [", "[]", "null", "package docker\n"] {
            assert!(problem(text).starts_with("it is "), "{text}: {}", problem(text));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SourcePolicy::parse(&bytes);
        }
    }
}
