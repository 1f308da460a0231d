//! Tells a bake file that `docker buildx bake --print` wrote from one that buildx has to resolve.
//!
//! buildx reads JSON as HCL: texts are templates, blocks and keys that come twice are merged, and numbers are of any size.
//! What it prints has none of that. Source: `json` of hashicorp/hcl, `bake/bake.go` of buildx.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What of a bake file only buildx can resolve, if anything. What is no JSON at all is not resolved by anyone, and is read to say
/// where it breaks.
pub(crate) fn left_to_buildx(json: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Plain>(json) {
        // It expects no kind of value: only what it refuses itself is about data.
        Err(error) if error.is_data() => return Some(error.to_string()),
        Err(_) => return None,
        Ok(Plain) => {}
    }
    let file: Value = serde_json::from_slice(json).ok()?;
    let named = |name: &str| format!("it has `{name}`");
    if let Some(name) = ["variable", "function"].into_iter().find(|name| file.get(name).is_some()) {
        return Some(named(name));
    }
    let is_filled = |field: Option<&Value>| {
        field.is_some_and(|field| !field.is_null() && field.as_array().is_none_or(|list| !list.is_empty()))
    };
    let mut targets = file.get("target").and_then(Value::as_object).into_iter().flat_map(|all| all.values());
    targets.find_map(|target| ["inherits", "matrix"].into_iter().find(|name| is_filled(target.get(name)))).map(named)
}

/// JSON that means the same to buildx and to whoever reads it as it stands.
struct Plain;

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Plain, D::Error> {
        from.deserialize_any(Plain)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Plain, E> {
        Ok(Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Plain, E> {
        Ok(Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Plain, E> {
        Ok(Plain)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Plain, E> {
        Err(E::custom("it has a number that is not a plain integer"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Plain, E> {
        match is_template(text) {
            true => Err(E::custom("it has a template (`${…}` or `%{…}`)")),
            false => Ok(Plain),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Plain, A::Error> {
        while list.next_element::<Plain>()?.is_some() {}
        Ok(Plain)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            // buildx protects no key when it prints one.
            if ["${", "%{"].iter().any(|open| key.contains(open)) {
                return Err(A::Error::custom(format!("it has a template in the key `{key}`")));
            }
            if keys.contains(&key) {
                return Err(A::Error::custom(format!("it has the key `{key}` twice")));
            }
            map.next_value::<Plain>()?;
            keys.insert(key);
        }
        Ok(Plain)
    }
}

/// Whether a text has what HCL evaluates: `$${` and `%%{` are how `${` and `%{` are written.
fn is_template(text: &str) -> bool {
    ["${", "%{"].iter().any(|open| text.match_indices(open).any(|(at, _)| !text[..at].ends_with(&open[..1])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(args: &str) -> Option<String> {
        left_to_buildx(format!(r#"{{"target":{{"default":{{"args":{args}}}}}}}"#).as_bytes())
    }

    #[test]
    fn what_buildx_wrote_is_left_to_nobody() {
        assert_eq!(left_to_buildx(include_bytes!("../../tests/fixtures/bake-print.json")), None);
        for args in [
            r#"{"A":"a$${X}b","B":"%%{if}","C":"$$$${X}","D":"$","E":"a{$}%"}"#,
            r#"{"A":1,"B":-7,"C":18446744073709551615,"D":true,"E":null,"F":["1"]}"#,
        ] {
            assert_eq!(left(args), None, "{args}");
        }
        for text in [r#"{"target":{"a":{"inherits":[],"matrix":null}}}"#, r#"{"target":["#, "{\"a\":1,}", "", "[]"] {
            assert_eq!(left_to_buildx(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_buildx_reads_otherwise_than_it_stands_is_left_to_it() {
        for (args, expected) in [
            (r#"{"X":"${upper(\"abc\")}"}"#, "a template"),
            (r#"{"X":"a%{if true}b%{endif}"}"#, "a template"),
            (r#"{"X":"\u0024{Y}"}"#, "a template"),
            (r#"{"X":["%${Y}"]}"#, "a template"),
            (r#"{"X":"$%{if true}b%{endif}"}"#, "a template"),
            (r#"{"X":"$${a} ${b}"}"#, "a template"),
            (r#"{"${upper(\"x\")}":"1"}"#, "a template in the key"),
            (r#"{"$${x}":"1"}"#, "a template in the key"),
            (r#"{"X":"1","\u0058":"2"}"#, "the key `X` twice"),
            (r#"{"X":1e3}"#, "a number"),
            (r#"{"X":1.50}"#, "a number"),
            (r#"{"X":-0}"#, "a number"),
            (r#"{"X":12345678901234567890123}"#, "a number"),
        ] {
            let problem = left(args).unwrap_or_default();
            assert!(problem.starts_with(&format!("it has {expected}")), "{args}: {problem}");
        }
        for (text, expected) in [
            (r#"{"variable":{"V":{}},"target":{"a":{}}}"#, "it has `variable`"),
            (r#"{"target":{"a":{"inherits":["b"]}}}"#, "it has `inherits`"),
            (r#"{"target":{"a":{"matrix":{}}}}"#, "it has `matrix`"),
        ] {
            assert_eq!(left_to_buildx(text.as_bytes()).as_deref(), Some(expected));
        }
        let blocks = r#"{"target":{"a":{"args":{"X":"1"}},"a":{"args":{"Y":"2"}}}}"#;
        assert!(left_to_buildx(blocks.as_bytes()).is_some_and(|problem| problem.contains("the key `a` twice")));
    }

    #[test]
    fn no_depth_is_too_deep() {
        assert_eq!(left_to_buildx("[".repeat(1_000_000).as_bytes()), None);
        assert_eq!(left_to_buildx(r#"{"a":"#.repeat(1_000_000).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_us_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = left_to_buildx(&bytes);
        }

        #[test]
        fn what_print_protects_is_no_template(text in "[$%{a]{0,12}") {
            let printed = text.replace("${", "$${").replace("%{", "%%{");
            prop_assert_eq!(is_template(&printed), false);
        }
    }
}
