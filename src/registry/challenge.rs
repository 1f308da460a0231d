//! `WWW-Authenticate`: what a registry wants to see before it answers. Pure; the asking is the client's.
//!
//! Source: RFC 9110 section 11.6.1 and the distribution project's token specification.

/// One challenge that we know how to meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password (ECR, htpasswd).
    Basic,
    /// A token from `realm`.
    Bearer {
        /// The address to get it from.
        realm: String,
        /// Whom it is for.
        service: Option<String>,
        /// What it must allow, as the registry words it.
        scope: Option<String>,
    },
}

/// The best challenge of all the headers (Bearer before Basic, as containerd prefers), or `None` when there is none
/// that we know.
pub(super) fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found = None;
    for header in headers {
        for challenge in parse(header) {
            match challenge {
                Challenge::Bearer { .. } => return Some(challenge),
                Challenge::Basic => found = Some(Challenge::Basic),
            }
        }
    }
    found
}

/// All known challenges of one header, which may hold several, separated by the same commas as their parameters.
fn parse(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, after) = parameter(value.trim_start());
                if let Some((_, parameters)) = schemes.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            None => {
                schemes.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    schemes.into_iter().filter_map(known).collect()
}

/// A token or a quoted string, and what comes after it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        // A value cannot be empty and stand before another `=`; skip a byte that would keep us here.
        let end = if end == 0 && text.starts_with('=') { 1 } else { end };
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

fn known((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let get = |name: &str| {
        parameters.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone())
    };
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn what_real_registries_ask_for_is_understood() {
        let one = |header| best([header].into_iter());
        assert_eq!(
            one(r#"Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr""#),
            Some(Challenge::Basic)
        );
        assert_eq!(
            one(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))
        );
        assert_eq!(
            one(r#"bearer realm = "https://x/\"q\"" , error=invalid_token"#),
            bearer("https://x/\"q\"", None, None)
        );
        assert_eq!(one(r#"Basic realm="r", Bearer realm="https://x""#), bearer("https://x", None, None));
        assert_eq!(one("Negotiate"), None);
        assert_eq!(one("Bearer service=x"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic_and_to_its_end(header in "[a-zA-Z=\", \\\\\t]{0,60}|\\PC{0,60}") {
            let _ = best([header.as_str()].into_iter());
        }
    }
}
