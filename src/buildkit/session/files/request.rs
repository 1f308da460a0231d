//! What a builder asks for when it opens a file transfer, read from the call's metadata.

use tonic::metadata::MetadataMap;

/// The metadata of one `FileSync.DiffCopy` call (BuildKit's `session/filesync`). Unknown keys mean nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// Which local: `context`, `dockerfile` or a named context.
    pub(super) name: String,
    /// Send only what matches; everything when absent.
    pub(super) include: Option<Vec<Vec<u8>>>,
    /// Do not send what matches.
    pub(super) exclude: Option<Vec<Vec<u8>>>,
    /// Send these too, with what their symlinks lead to.
    pub(super) follow: Option<Vec<Vec<u8>>>,
}

impl Request {
    /// Reads a call's metadata; a missing name is the empty one.
    pub(super) fn read(metadata: &MetadataMap) -> Request {
        let name = values(metadata, "dir-name").and_then(|names| names.into_iter().next()).unwrap_or_default();
        Request {
            name: String::from_utf8_lossy(&name).into_owned(),
            include: values(metadata, "include-patterns"),
            exclude: values(metadata, "exclude-patterns"),
            follow: values(metadata, "followpaths"),
        }
    }
}

/// All values of a key. With `<key>-encoded: 1` beside them, all are escaped as in a URL's query.
fn values(metadata: &MetadataMap, key: &str) -> Option<Vec<Vec<u8>>> {
    let encoded = metadata
        .get(format!("{key}-encoded"))
        .is_some_and(|flag| matches!(flag.as_bytes(), b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True"));
    let values: Vec<Vec<u8>> = metadata
        .get_all(key)
        .iter()
        .map(|value| if encoded { unescaped(value.as_bytes()) } else { value.as_bytes().to_vec() })
        .collect();
    (!values.is_empty()).then_some(values)
}

/// Go's `url.QueryUnescape`; empty where that fails, as BuildKit's own client takes it.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        at += 1;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = digit(value.get(at)).zip(digit(value.get(at + 1)));
                let Some((high, low)) = pair else { return Vec::new() };
                // Two hexadecimal digits always fit.
                out.push((high << 4 | low) as u8);
                at += 2;
            }
            other => out.push(*other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_unescaped_only_where_the_builder_says_they_are_escaped() {
        let mut metadata = MetadataMap::new();
        metadata.insert("dir-name", "context".parse().expect("ASCII"));
        metadata.append("exclude-patterns", "a%2Ab+c".parse().expect("ASCII"));
        metadata.append("exclude-patterns", "d".parse().expect("ASCII"));
        metadata.append("followpaths", "%C3%BC+x".parse().expect("ASCII"));
        metadata.append("followpaths", "broken%2".parse().expect("ASCII"));
        metadata.insert("followpaths-encoded", "1".parse().expect("ASCII"));
        metadata.insert("override-excludes", "true".parse().expect("ASCII"));
        assert_eq!(
            Request::read(&metadata),
            Request {
                name: "context".to_owned(),
                include: None,
                exclude: Some(vec![b"a%2Ab+c".to_vec(), b"d".to_vec()]),
                follow: Some(vec!["ü x".as_bytes().to_vec(), Vec::new()]),
            }
        );
    }

    proptest! {
        #[test]
        fn any_value_is_unescaped_without_panic(value in proptest::collection::vec(any::<u8>(), 0..20)) {
            let unescaped = unescaped(&value);
            prop_assert!(unescaped.len() <= value.len());
        }
    }
}
