//! Logins in the configurations of other programs: taken out, and known.

use crate::auth::{Secret, decode_login};

/// Docker's configuration without what logs in; none when it has nothing of that kind. One that is not JSON is nothing
/// docker would read, and nothing is left of it.
pub(super) fn without_logins(text: &str) -> Option<String> {
    let Ok(mut config) = serde_json::from_str::<serde_json::Value>(text) else {
        return (!text.trim().is_empty()).then(String::new);
    };
    let mut found = false;
    for (_, login) in config.get_mut("auths").and_then(|auths| auths.as_object_mut()).into_iter().flatten() {
        for key in ["auth", "username", "password", "identitytoken", "registrytoken"] {
            let removed = login.as_object_mut().and_then(|login| login.remove(key));
            found |= removed.is_some_and(|value| value.as_str() != Some(""));
        }
    }
    found.then(|| serde_json::to_string_pretty(&config).unwrap_or_default() + "\n")
}

/// npm's configuration without its tokens; none when it has none. What stands for a variable (`${NPM_TOKEN}`) is none.
pub(super) fn without_tokens(text: &str) -> Option<String> {
    let is_token = |line: &str| {
        let Some((key, value)) = line.split_once('=') else { return false };
        let key = key.trim();
        ["_authToken", "_auth", "_password"].iter().any(|end| key.ends_with(end)) && !value.trim().starts_with("${")
    };
    let kept: Vec<&str> = text.lines().filter(|line| !is_token(line)).collect();
    (kept.len() < text.lines().count()).then(|| kept.iter().map(|line| format!("{line}\n")).collect())
}

/// The logins in docker's configuration, as secrets to look for: password by registry.
pub(super) fn logins(text: &str) -> Vec<(String, Secret)> {
    let config: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let auths = config.get("auths").and_then(|auths| auths.as_object()).into_iter().flatten();
    let login = |(registry, login): (&String, &serde_json::Value)| {
        let field = |name: &str| login.get(name).and_then(|value| value.as_str());
        let pair = field("auth").and_then(decode_login).map(|login| login.password);
        let plain = ["password", "identitytoken", "registrytoken"].into_iter().filter_map(field).map(Secret::new);
        pair.into_iter().chain(plain).map(|password| (registry.clone(), password)).collect::<Vec<_>>()
    };
    auths.flat_map(login).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn docker_keeps_what_is_no_login() {
        let text = r#"{"auths": {"r": {"auth": "QVdTOnB3"}, "e": {}}, "credHelpers": {"x": "ecr-login"}}"#;
        let kept: serde_json::Value = serde_json::from_str(&without_logins(text).unwrap()).unwrap();
        assert_eq!(kept, serde_json::json!({"auths": {"r": {}, "e": {}}, "credHelpers": {"x": "ecr-login"}}));
        assert_eq!(without_logins(&kept.to_string()), None);
        assert_eq!(without_logins("{\"auths\": "), Some(String::new()));
        assert_eq!(logins(text), [("r".to_owned(), Secret::new("pw"))]);
    }

    #[test]
    fn npm_keeps_what_is_no_token() {
        let text = "registry=https://r/\n//r/:_authToken=npm_x\n//s/:_authToken=${NPM_TOKEN}\n";
        let kept = "registry=https://r/\n//s/:_authToken=${NPM_TOKEN}\n";
        assert_eq!(without_tokens(text).as_deref(), Some(kept));
        assert_eq!(without_tokens(kept), None);
    }

    proptest! {
        #[test]
        fn configurations_of_any_text_are_read_without_a_panic(text in any::<String>()) {
            let _ = (without_logins(&text), without_tokens(&text), logins(&text));
        }
    }
}
