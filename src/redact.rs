//! Hides the secrets of a build from everything that is written: a [`Redactor`] knows their values.
//!
//! It knows what a build was given as secrets, and of variables the values that are secrets by their names. A build argument
//! is no place for a secret (BuildKit writes it into images and provenance); a report is not to be one more. The Dockerfile
//! frontend expands variables into the names of steps, and steps write secrets into their logs, which BuildKit tells in
//! pieces of any length.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::{Bound, Range};
use std::sync::{Arc, LazyLock};

use aho_corasick::AhoCorasick;
use regex::Regex;

use crate::sensitive::{self, SHAPES, is_common, is_secret};

/// A shorter value stands in too many other words.
const SHORTEST_VALUE: usize = 4;

/// Those shapes, and whatever follows `Bearer`.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let shapes = SHAPES.iter().map(|(_, shape)| *shape);
    let header = r"(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}";
    Regex::new(&shapes.chain([header]).collect::<Vec<_>>().join("|")).ok()
});
/// What is between the scheme and the host of a URL; with a password in it, up to the last `@`.
static USERINFO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"://([^\s'"/@:]*:[^\s'"]*|[^\s'"/@]+)@"#).ok());
/// Values of a URL's query that grant something.
static QUERY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|sig|signature|token|access_token|key|password";
    Regex::new(&format!(r#"(?i)[?&](?:{names})=([^&\s'"]+)"#)).ok()
});

/// What is written in place of a secret.
const MASK: &str = "(secret)";
/// Bytes of a log's last line that wait for its end; a longer line is shown in pieces.
const LONGEST_LINE: usize = 16 * 1024;

/// The secrets of a build. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redactor {
    values: Option<Arc<Values>>,
    /// Names of variables that hold no secrets, whatever they are called.
    public: Arc<BTreeSet<String>>,
}

#[derive(Debug)]
struct Values {
    /// In order, so that those which begin with the same bytes are together.
    all: BTreeSet<Vec<u8>>,
    search: AhoCorasick,
    longest: usize,
}

impl Redactor {
    /// Hides these secrets, each by all of its parts in every spelling.
    pub(crate) fn of_secrets<'c>(contents: impl IntoIterator<Item = &'c [u8]>) -> Redactor {
        Redactor::hiding(contents.into_iter().flat_map(sensitive::spelled).map(|(_, value)| value).collect())
    }

    /// The same, where the values of these variables are no secrets.
    pub(crate) fn but_not(self, public: BTreeSet<String>) -> Redactor {
        Redactor { public: Arc::new(public), ..self }
    }

    /// Hides the values of variables whose names say that they are secrets, as well, and the passwords in those of others.
    pub(crate) fn and<'v>(&self, variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Redactor {
        let secret = |(name, value): (&str, &'v str)| match self.is_secret(name) {
            true => Some(value),
            false if self.public.contains(name) => None,
            false => sensitive::login(value).and_then(|(_, password)| password),
        };
        let spelled =
            |value: &str| sensitive::spelled(value.as_bytes()).map(|(_, spelled)| spelled).collect::<Vec<_>>();
        let secrets = variables.into_iter().filter_map(secret).filter(|value| is_worth_hiding(value));
        let values = secrets.flat_map(|value| spelled(value).into_iter().chain([value.as_bytes().to_owned()]));
        Redactor { public: self.public.clone(), ..Redactor::hiding(self.values().cloned().chain(values).collect()) }
    }

    /// Hides all that any of these hides.
    pub(crate) fn all<'v>(redactors: impl IntoIterator<Item = &'v Redactor>) -> Redactor {
        let redactors: Vec<&Redactor> = redactors.into_iter().collect();
        let public = redactors.first().map(|redactor| redactor.public.clone()).unwrap_or_default();
        Redactor {
            public,
            ..Redactor::hiding(redactors.iter().flat_map(|redactor| redactor.values().cloned()).collect())
        }
    }

    fn hiding(all: BTreeSet<Vec<u8>>) -> Redactor {
        let longest = all.iter().map(Vec::len).max().unwrap_or_default();
        let search = AhoCorasick::new(&all);
        // There are too many only where a billion bytes of secrets were given, which BuildKit refuses.
        let values = search.ok().filter(|_| longest > 0).map(|search| Arc::new(Values { all, search, longest }));
        Redactor { values, public: Arc::default() }
    }

    fn values(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.values.iter().flat_map(|values| &values.all)
    }

    fn is_secret(&self, name: &str) -> bool {
        is_secret(name) && !self.public.contains(name)
    }

    /// The value of a variable as it may be written down, with what `stand_in` makes of each secret in it.
    pub(crate) fn variable(&self, name: &str, value: &str, stand_in: impl Fn(&str) -> String) -> String {
        match !value.is_empty() && self.is_secret(name) && !is_common(value) {
            true => stand_in(value),
            false => self.text_with(value, stand_in),
        }
    }

    /// Text without the build's secrets, without everything that has a token's shape, what stands before the host of a URL,
    /// and what grants something in its query.
    pub(crate) fn text(&self, text: &str) -> String {
        self.text_with(text, |_| MASK.to_owned())
    }

    /// The same, with what `stand_in` makes of each secret in its place.
    pub(crate) fn text_with(&self, text: &str, stand_in: impl Fn(&str) -> String) -> String {
        let mut secret = self.found(text.as_bytes());
        for (pattern, group) in [(&TOKEN, 0), (&USERINFO, 1), (&QUERY, 1)] {
            let found =
                pattern.iter().flat_map(|pattern| pattern.captures_iter(text)).filter_map(|found| found.get(group));
            // What was hidden before stays as it is.
            secret.extend(found.filter(|found| found.as_str() != MASK).map(|found| found.range()));
        }
        let shown = without(text.as_bytes(), secret, |found| stand_in(&String::from_utf8_lossy(found)));
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Text without the build's secrets. Addresses in it stay whole: they are those that a person gave.
    pub(crate) fn known_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.found(text.as_bytes()) {
            found if found.is_empty() => text.into(),
            found => {
                let shown = without(text.as_bytes(), found, |_| MASK.to_owned());
                String::from_utf8_lossy(&shown).into_owned().into()
            }
        }
    }

    /// Where the build's secrets are. These may overlap.
    fn found(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        self.values
            .iter()
            .flat_map(|values| values.search.find_overlapping_iter(bytes))
            .map(|found| found.range())
            .collect()
    }

    /// JSON without the build's secrets in its texts. Its keys are ours, and stay.
    pub(crate) fn json(&self, json: &str) -> String {
        let mut shown = String::with_capacity(json.len());
        let mut rest = json;
        while let Some(begin) = rest.find('"') {
            let end = end_of_text(&rest[begin..]).map_or(rest.len(), |length| begin + length);
            let (before, text) = (&rest[..begin], &rest[begin..end]);
            rest = &rest[end..];
            shown.push_str(before);
            let is_key = rest.trim_start().starts_with(':');
            let read = serde_json::from_str::<String>(text).ok().filter(|_| !is_key);
            match read.as_deref().map(|read| (read, self.known_text(read))) {
                Some((read, hidden)) if hidden != read => {
                    shown.push_str(&serde_json::Value::from(&*hidden).to_string())
                }
                _ => shown.push_str(text),
            }
        }
        shown.push_str(rest);
        shown
    }

    /// Takes in the next piece of a log, of which `held` did not yet end. Gives what may be shown of it: whole lines, and
    /// nothing that may be the beginning of a secret.
    pub(crate) fn log(&self, held: &mut Vec<u8>, piece: &[u8]) -> String {
        held.extend_from_slice(piece);
        let lines = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let longest = self.values.as_ref().map_or(0, |values| values.longest);
        let end = match held.len() - lines {
            // Secrets that overlap without an end are no text that anybody waits for.
            rest if rest > 2 * LONGEST_LINE + longest => held.len(),
            rest if rest > LONGEST_LINE => self.last_end(held, held.len()),
            _ => self.last_end(held, lines),
        };
        let rest = held.split_off(end);
        let shown = self.bytes(held);
        *held = rest;
        shown
    }

    /// Bytes of a log as text, without the build's secrets.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> String {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            // What is not text is hidden before it becomes it.
            Err(_) => {
                let shown = without(bytes, self.found(bytes), |_| MASK.to_owned());
                self.text(&String::from_utf8_lossy(&shown))
            }
        }
    }

    /// The last place in a log, up to `end`, where nothing is cut that is a secret, or that may become one with what follows.
    fn last_end(&self, log: &[u8], end: usize) -> usize {
        let Some(values) = &self.values else { return end };
        let is_begun = |begin: &usize| {
            let rest = &log[*begin..];
            let longer = values.all.range::<[u8], _>((Bound::Excluded(rest), Bound::Unbounded)).next();
            longer.is_some_and(|value| value.starts_with(rest))
        };
        let begun = (log.len().saturating_sub(values.longest)..log.len()).find(is_begun);
        let found = self.found(log);
        let mut end = end.min(begun.unwrap_or(end));
        while let Some(cut) =
            found.iter().filter(|found| found.start < end && end < found.end).map(|found| found.start).min()
        {
            end = cut;
        }
        end
    }
}

/// Bytes with what `stand_in` makes of them in these places; those that overlap are one.
fn without(bytes: &[u8], mut places: Vec<Range<usize>>, stand_in: impl Fn(&[u8]) -> String) -> Vec<u8> {
    places.sort_by_key(|place| (place.start, place.end));
    let mut shown = Vec::with_capacity(bytes.len());
    let mut end = 0;
    let mut places = places.into_iter().peekable();
    while let Some(mut place) = places.next() {
        while let Some(next) = places.next_if(|next| next.start < place.end) {
            place.end = place.end.max(next.end);
        }
        shown.extend(&bytes[end..place.start]);
        shown.extend(stand_in(&bytes[place.clone()]).as_bytes());
        end = place.end;
    }
    shown.extend(&bytes[end..]);
    shown
}

/// The length of the JSON text that begins here, with its quotes; none if it does not end.
fn end_of_text(json: &str) -> Option<usize> {
    let mut is_escaped = false;
    let end = json.bytes().enumerate().skip(1).find(|(_, byte)| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map(|(at, _)| at + 1)
}

fn is_worth_hiding(value: &str) -> bool {
    value.len() >= SHORTEST_VALUE && !is_common(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(name: &str, value: &str) -> String {
        Redactor::default().variable(name, value, |_| "****".to_owned())
    }

    #[test]
    fn what_may_be_a_secret_is_hidden_and_the_rest_is_kept() {
        for name in ["CFLAGS", "LD_LIBRARY_PATH", "NODE_PATH", "MONKEY", "COMPASS"] {
            assert_eq!(variable(name, "value"), "value", "{name}");
        }
        for name in ["NPM_TOKEN", "DB_PASS", "MYSQL_PWD", "SIGNING_KEY", "GITHUB_PAT", "githubtoken"] {
            assert_eq!(variable(name, "hush"), "****", "{name}");
        }
        assert_eq!(
            (variable("NPM_TOKEN", ""), variable("DB_PASSWORD", "postgres")),
            (String::new(), "postgres".into())
        );
        let public = Redactor::default().but_not(BTreeSet::from(["DEMO_TOKEN".to_owned()]));
        assert_eq!(public.variable("DEMO_TOKEN", "hush", |_| "****".to_owned()), "hush");
        assert_eq!(
            public.and([("DEMO_TOKEN", "hushhush"), ("TOKEN", "hunter2")]).text("hushhush hunter2"),
            "hushhush (secret)"
        );
    }

    #[test]
    fn text_is_kept_but_for_what_grants_something() {
        let redactor = Redactor::default().and([("NPM_TOKEN", "hunter2hunter"), ("MODE", "fast"), ("PIN_KEY", "abc")]);
        for text in [
            "npm config set t \"hunter2hunter\"",
            "https://me:hunter2@pypi.example/simple",
            "redis://:hunter2/x@host/0",
            "https://u:p@hunter2@host/",
            "git clone https://hunter2@github.com/a/b",
            "curl -H 'Authorization: Bearer hunter2hunter2hunter2' x",
            "https://bucket/x?X-Amz-Signature=hunter2&a=b",
        ] {
            let shown = redactor.text(text);
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(redactor.text(&shown), shown);
        }
        for text in ["make fast abc", "https://proxy.example/x/@v/list", "a@b", "https://host/x?a=b"] {
            assert_eq!(redactor.text(text), text);
        }
        let kept = redactor.text("git clone https://ghp_0123456789abcdef0123@github.com/a/b && make");
        assert_eq!(kept, "git clone https://(secret)@github.com/a/b && make");
    }

    #[test]
    fn the_password_of_an_address_is_hidden_wherever_it_stands() {
        let url = "postgres://app:pa%40ss-word@db.example/app";
        let redactor = Redactor::default().and([("DATABASE_URL", url), ("SOURCE", "https://deploy@git.example/x")]);
        assert_eq!(
            redactor.text(&format!("{url} pa@ss-word app deploy")),
            "postgres://(secret)@db.example/app (secret) app deploy"
        );
    }

    #[test]
    fn a_secret_of_a_file_is_hidden_by_its_values_in_every_spelling() {
        let redactor =
            Redactor::of_secrets([&b"registry=https://npm.example/\n//npm.example/:_authToken=hunter2hunter\n"[..]]);
        assert_eq!(
            redactor.text("hunter2hunter aHVudGVyMmh1bnRlcg== https://npm.example/"),
            "(secret) (secret)g== https://npm.example/"
        );
        assert_eq!(
            redactor.json(r#"{"hunter2hunter": ["a\"hunter2hunter", 1]}"#),
            r#"{"hunter2hunter": ["a\"(secret)", 1]}"#
        );
        assert_eq!(redactor.json(r#"{"a": "hunter2hunt"#), r#"{"a": "hunter2hunt"#);
    }

    #[test]
    fn lines_of_a_log_are_shown_when_they_are_whole() {
        let redactor = Redactor::default().and([("TOKEN", "hunter2")]);
        let mut held = Vec::new();
        assert_eq!(redactor.log(&mut held, b"one\nhun"), "one\n");
        assert_eq!(redactor.log(&mut held, b"ter2 and"), "");
        assert_eq!(redactor.log(&mut held, b" more\n"), "(secret) and more\n");
        assert_eq!(redactor.log(&mut held, b"hunter"), "");
        assert_eq!(redactor.bytes(&held), "hunter");
        let long = "x".repeat(LONGEST_LINE);
        held.clear();
        assert_eq!(redactor.log(&mut held, format!("{long}hunter").as_bytes()), long);
        assert_eq!(redactor.log(&mut held, b"2\n"), "(secret)\n");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(before in any::<String>(), password in "[!-~]{8,20}", after in any::<String>()) {
            prop_assume!(is_worth_hiding(&password));
            let redactor = Redactor::default().and([("PASSWORD", password.as_str())]);
            let is_there = redactor.text(&format!("{before} {password} {after}")).contains(&password);
            prop_assert!(!is_there || before.contains(&password) || after.contains(&password) || MASK.contains(&password));
        }

        #[test]
        fn a_secret_that_pieces_of_a_log_cut_is_not_shown(
            secret in "[a-z\n]{6,20}", around in "[a-z \n]{0,20}", cuts in proptest::collection::vec(0usize..60, 0..6),
        ) {
            let redactor = Redactor::hiding(BTreeSet::from([secret.clone().into_bytes()]));
            let whole = format!("{around}{secret}{around}");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (whole.len() + 1)).chain([0, whole.len()]).collect();
            cuts.sort_unstable();
            let mut held = Vec::new();
            let mut shown: String =
                cuts.windows(2).map(|ends| redactor.log(&mut held, &whole.as_bytes()[ends[0]..ends[1]])).collect();
            shown += &redactor.bytes(&held);
            prop_assert_eq!(&shown, &redactor.text(&whole));
            prop_assert!(!shown.contains(&secret) || around.contains(&secret));
        }
    }
}
