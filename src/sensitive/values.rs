//! Which values are worth hiding: a word that every system has tells nothing, and hiding it hides half a log.

use std::sync::LazyLock;

use regex::Regex;

use super::names::is_secret;
use super::shapes::has_shape;

/// Values that are words of the system or of formats, in lower case. Each is found on most machines, or is a placeholder that
/// people write where a secret belongs, so that finding it says nothing.
const COMMON: [(&str, &str); 6] = [
    (
        "switches, and the absence of a value",
        "true false yes no on off null none nil undefined enabled disabled auto default",
    ),
    (
        "environments, and levels of logs",
        "production staging development testing test release debug info warning warn error trace verbose always never",
    ),
    (
        "users and services",
        "root admin administrator user nobody postgres postgresql mysql mariadb redis mongodb rabbitmq guest ubuntu debian \
         ec2-user docker jenkins runner nginx apache www-data git github gitlab bitbucket anonymous service aws \
         __token__ x-access-token x-oauth-basic x-token-auth oauth2 oauth2accesstoken gitlab-ci-token _json_key \
         _json_key_base64 service_account authorized_user",
    ),
    (
        "hosts and schemes",
        "localhost localhost.localdomain 127.0.0.1 0.0.0.0 host.docker.internal http https docker.io index.docker.io \
         registry-1.docker.io ghcr.io quay.io public.ecr.aws",
    ),
    ("words of formats", "machine login password account bearer basic secret token credential credentials"),
    ("what stands where nobody has set a password", "changeme change-me example placeholder 123456 12345678 xxxxxx"),
];

/// Keys in files whose values are no secrets, however they look.
const PUBLIC_KEYS: &str = "\
    accountid apiversion appid audience authority certificateauthority certificateauthoritydata clientcertificate \
    clientcertificatedata clientemail clientid cluster clustername commit context currentcontext database digest email \
    fingerprint host hostname id image index indexurl integrity kind machine mirror name namespace project projectid \
    publickey region registry repository sha sha256 subscriptionid tenant tenantid url user useragent username version";

/// What has the shape of something that is known, and is no secret: versions, dates, numbers, hosts, addresses of mail,
/// platforms, and references to variables.
static PLAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:v?\d+(?:\.\d+)+(?:[-+.][0-9A-Za-z.-]*)?",
        r"|\d{4}-\d\d-\d\d(?:[T ][0-9:.]+(?:Z|[+-]\d\d:?\d\d)?)?",
        r"|[0-9.,:_/-]+|0x[0-9a-fA-F]{1,8}",
        r"|[^@\s/:]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+",
        r"|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.[a-z]{2,}(?::\d+)?(?:/[a-z0-9._/-]*)?(?::[A-Za-z0-9_.-]{1,40})?",
        r"|\$\{?[A-Za-z_].*|\$\(.*|%[A-Za-z_]+%|\{\{.*|<[A-Za-z_ -]+>|\*+|x+)$",
    ))
    .ok()
});

/// What a key says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// The value is a secret.
    Secret,
    /// The value is none.
    Public,
    /// Nothing.
    Nothing,
}

impl Says {
    /// What a key says; that of npm may stand behind an address: `//registry.example/:_authToken`.
    pub(super) fn of(key: &str) -> Says {
        let key = key.rsplit(['/', ':']).next().unwrap_or(key);
        let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        match key {
            _ if is_secret(key) => Says::Secret,
            _ if is_listed(PUBLIC_KEYS, &plain) => Says::Public,
            _ => Says::Nothing,
        }
    }
}

/// Whether a value is a word that most systems have, whatever it is the value of.
pub(crate) fn is_common(value: &str) -> bool {
    let value = value.trim();
    COMMON.iter().any(|(_, words)| is_listed(words, &value.to_lowercase()))
        || value.chars().all(|character| !character.is_alphanumeric())
}

fn is_listed(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|listed| listed == word)
}

/// The user and the password in an address, as they stand there.
pub(crate) fn login(address: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = address.split_once("://")?;
    let (login, _) = rest.split('/').next()?.rsplit_once('@')?;
    Some(login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password))))
}

/// Whether a value is a path of which no part looks random.
pub(super) fn is_path(value: &str) -> bool {
    let begins = ["/", "./", "../", "~/"].iter().any(|begin| value.starts_with(begin));
    begins && !value.split('/').any(|part| is_token(part) || looks_random(part))
}

/// Whether a value has the shape of something that is no secret.
pub(super) fn is_plain(value: &str) -> bool {
    let has_plain_shape = PLAIN.as_ref().is_some_and(|plain| plain.is_match(value));
    has_plain_shape && !value.split(['.', '/', ':', '@']).any(is_token) || is_path(value)
}

/// Whether a value looks as if a person or a program had made it up to be guessed by nobody, such as `Tr0ub4dor&3`.
pub(super) fn looks_random(value: &str) -> bool {
    let has = |of_class: fn(char) -> bool| usize::from(value.chars().any(of_class));
    let symbols = |character: char| character.is_ascii_punctuation() && !"-_./:,".contains(character);
    let letters = has(|character| character.is_lowercase()) + has(|character| character.is_uppercase());
    let classes = letters + has(|character| character.is_ascii_digit()) + has(symbols);
    let is_mixed = classes == 4 || classes >= 3 && changes(value) >= 3;
    is_token(value) || value.len() >= 8 && is_mixed && !value.contains(char::is_whitespace)
}

/// Whether a word looks as if a program had made it up: a token, a key, a hash, also where it stands among other words.
pub(super) fn is_token(word: &str) -> bool {
    let is_spelled = word.chars().all(|character| character.is_ascii_alphanumeric() || "+/=_.-~".contains(character));
    let digits = word.chars().filter(char::is_ascii_digit).count();
    has_shape(word) || word.len() >= 16 && is_spelled && digits >= 2 && changes(word) >= 4
}

/// How often letters and digits change, or small and capital letters other than at the beginning of a word.
fn changes(value: &str) -> usize {
    let class = |character: char| match character {
        '0'..='9' => 1,
        character if character.is_uppercase() => 2,
        _ => 3,
    };
    let characters: Vec<char> = value.chars().filter(|character| character.is_alphanumeric()).collect();
    // A capital and what follows it are one: `CamelCase` changes at each of its words, `Ab1Cd` more often.
    characters
        .windows(2)
        .filter(|pair| class(pair[0]) != class(pair[1]) && (class(pair[0]), class(pair[1])) != (2, 3))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_values_are_told_from_others() {
        for value in [
            "Tr0ub4dor&3",
            "s3cr3t-Passw0rd!",
            "AKIAQWERTYUIOPASDF7H",
            "ghp_0123456789abcdefABCDEF0123456789abcd",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzQ9aXbLm3T",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "npm_a1B2c3D4e5F6g7H8i9J0",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
            "550e8400-e29b-41d4-a716-446655440000",
            "/9j4AAQSkZJRgABAQEAYABgAAD2",
        ] {
            assert!(looks_random(value) && !is_plain(value), "{value}");
        }
        for value in [
            "production",
            "eu-central-1",
            "node:20-alpine",
            "python3.11",
            "registry.npmjs.org",
            "Europe/Berlin",
            "CamelCaseName",
            "v20.11.1",
            "2024-01-01T00:00:00Z",
            "https",
            "m5.xlarge",
            "linux/amd64",
            "x86_64",
            "Ubuntu22.04",
            "Mozilla/5.0",
            "application/json",
            "/usr/lib/x86_64-linux-gnu",
            "postgresql-client-15",
            "--max-old-space-size=4096",
            "-O2",
            "utf-8",
            "solarized",
            "org.example.Main",
        ] {
            assert!(!looks_random(value) || is_plain(value), "{value}");
        }
    }

    #[test]
    fn words_of_the_system_are_common() {
        for value in ["postgres", "root", "TRUE", "production", "localhost", "  git ", "----", "https", "{"] {
            assert!(is_common(value), "{value}");
        }
        for value in ["hunter2", "correcthorse", "postgres1"] {
            assert!(!is_common(value), "{value}");
        }
    }

    #[test]
    fn keys_say_what_their_values_are() {
        assert_eq!(Says::of("//registry.npmjs.org/:_authToken"), Says::Secret);
        assert_eq!(Says::of("client-certificate-data"), Says::Public);
        assert_eq!(Says::of("theme"), Says::Nothing);
    }
}
