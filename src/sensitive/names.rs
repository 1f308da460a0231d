//! Which names say that their values are secrets: those of build arguments, of variables, and of keys in files.
//!
//! A name is taken apart into words, at every character that is no letter or digit and where a lower-case letter meets an
//! upper-case one: `npmKey` is `npm` and `key`. Most rules are about whole words, so that `PINNED` and `MONKEY` are no secrets.

/// What is in names whose values are secrets, wherever it stands in a word: `githubtoken`, `DBPASSWORD`.
const PARTS: [&str; 7] = ["token", "secret", "passw", "passphrase", "passwd", "credential", "apikey"];

/// Words whose values are secrets.
const WORDS: [&str; 25] = [
    "auth",
    "bearer",
    "connectionstring",
    "connstr",
    "cookie",
    "cookies",
    "cred",
    "creds",
    // A data source name has the login to a database or to Sentry in it.
    "dsn",
    "jwt",
    "key",
    "keys",
    "login",
    "otp",
    "pass",
    "pat",
    "pin",
    "pwd",
    // A shared access signature of Azure.
    "sas",
    "sig",
    "signature",
    "totp",
    // Who knows a webhook's address may post to it.
    "webhook",
    "webhooks",
    "webhookurl",
];

/// What stands before `key` in one word when the key is a secret: `SIGNINGKEY`. Any other such word is a word of its own:
/// `monkey`, `turnkey`, `cachekey`.
const KINDS_OF_KEY: &str = "\
    access account api app auth client deploy encryption gpg host license licence master pgp private rsa \
    secret service sign signing ssh storage";

/// Words that make a name public whatever else is in it. Bundlers write variables with these words into what browsers load,
/// so nobody may keep a secret in one.
const PUBLIC: [&str; 6] = ["public", "publishable", "pubkey", "vite", "gatsby", "storybook"];

/// What stands before `key` when the key says where something lies and opens nothing.
const PLAIN_KEYS: &str = "\
    cache foreign group index lookup object order partition primary row shard sort unique";

/// Last words of names that tell something about a secret, and not the secret.
const ABOUT: &str = "\
    alg algorithm arn count dir directory enabled endpoint expiration expires expiry file folder format \
    header helper host id ids issuer length lifetime limit method mode name names path policy port prefix \
    provider realm size store timeout ttl type user version";

/// Last words that tell where something is; what a secret is asked for at is none, unless knowing the address is enough.
const ADDRESSES: [&str; 3] = ["uri", "url", "urls"];

/// Whether the value of a variable, build argument or key of this name is likely a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let words = words(name);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.iter().any(|word| PUBLIC.contains(word)) {
        return false;
    }
    let (last, before) = words.split_last().unwrap_or((&"", &[]));
    // Vault takes a secret_id for a password; and a password whose name ends otherwise has its own words.
    let is_about = is_listed(ABOUT, last) && !(matches!(*last, "id" | "ids") && before.last() == Some(&"secret"));
    let opens = before.iter().any(|word| matches!(*word, "webhook" | "webhooks" | "dsn"));
    if is_about || ADDRESSES.contains(last) && !opens {
        return false;
    }
    let measures = words.iter().any(|word| matches!(*word, "max" | "min" | "num" | "per"));
    words.iter().enumerate().any(|(place, word)| {
        let before = place.checked_sub(1).and_then(|place| words.get(place)).copied().unwrap_or_default();
        match *word {
            "key" | "keys" => !is_listed(PLAIN_KEYS, before),
            // Tokens of languages and of language models.
            "tokens" if measures => false,
            word if word.starts_with("tokeniz") || word.starts_with("tokenis") => false,
            word => {
                WORDS.contains(&word)
                    || PARTS.iter().any(|part| word.contains(part))
                    || word
                        .strip_suffix("key")
                        .is_some_and(|kind| KINDS_OF_KEY.split(' ').any(|known| kind.ends_with(known)))
            }
        }
    })
}

fn is_listed(words: &str, word: &str) -> bool {
    words.split(' ').any(|listed| listed == word)
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        let begins = !character.is_ascii_alphanumeric() || was_lower && character.is_ascii_uppercase();
        if begins && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let (true, Some(word)) = (character.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(character.to_ascii_lowercase());
        }
        was_lower = character.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_others() {
        for name in "NPM_TOKEN npmToken githubtoken _authToken DB_PASS DB_PASSWORD DBPASSWORD MYSQL_PWD SIGNING_KEY \
            SIGNINGKEY DEPLOYKEY LICENSEKEY LICENSE_KEY npmKey APIKEY STRIPE_API_KEY SSH_KEY PRIVATE_KEY \
            MYPRIVATEKEY COOKIE SESSION_COOKIE DSN SENTRY_DSN WEBHOOK SLACK_WEBHOOK_URL PIN CARD_PIN JWT \
            GITHUB_PAT GOOGLE_CREDENTIALS REGISTRY_CREDENTIALS aws_secret_access_key AWS_SESSION_TOKEN \
            SECRET_KEY_BASE client-key-data SECRET_ID passphrase auth CONNECTION_STRING_SECRET GPG_PASSPHRASE \
            ENCRYPTION_KEYS clientSecret OTP"
            .split(' ')
        {
            assert!(is_secret(name), "{name}");
        }
        for name in "NEXT_PUBLIC_API_TOKEN NEXT_PUBLIC_KEY VITE_API_KEY PUBLISHABLE_KEY STRIPE_PUBLISHABLE_KEY \
            TOKENIZER_MODEL TOKENIZERS_PARALLELISM MAX_TOKENS CACHE_KEY KEYBOARD MONKEY TURNKEY WHISKEY COMPASS \
            BYPASS PINNED PIP_NO_PINNING PUBLIC_KEY SSH_PUBLIC_KEY AUTHOR AUTHORS KEYRING_PATH AWS_ACCESS_KEY_ID \
            SIGNING_KEY_ID PRIMARY_KEY TOKEN_URL token_uri PASSWORD_FILE SECRET_NAME KEY_LENGTH AUTH_MODE \
            TOKEN_TTL CFLAGS LD_LIBRARY_PATH NODE_PATH DATABASE_URL NODE_ENV PATH PATTERN PATCH SIGNAL MODE \
            VERSION username HOST LICENSE DESIGN"
            .split(' ')
        {
            assert!(!is_secret(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_is_too_odd(name in any::<String>()) {
            is_secret(&name);
        }
    }
}
