//! The parts of a secret's content that must not be shown or found anywhere: the whole, lines, and single values.
//!
//! A secret is often a file that a program reads: `.npmrc`, `.netrc`, a kubeconfig, a private key. A step that leaks it leaks
//! one value of it more often than the whole. What a file has beside its secrets (hosts, users, comments, names of keys) is no
//! part, for it is found everywhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::decode::{base64_encoded, base64_text, percent_decoded, unescaped, xml_decoded};
use super::values::{Says, is_common, is_path, is_plain, is_token, looks_random};
use super::{SHORTEST, names};

/// The most parts of one secret.
const MOST: usize = 2_000;
/// Bytes of the longest part. Longer content is cut into parts of this length.
const LONGEST: usize = 4_096;
/// Bytes of a line of a private key that are enough to tell it from other text; the last line is often shorter.
const SHORTEST_OF_KEY: usize = 16;
/// How often values are looked for in values: the base64 of JSON that has a key in it is 3 deep.
const DEEPEST: usize = 4;

/// The parts of one secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The parts, each once. None has less than [`SHORTEST`] bytes.
    pub(crate) parts: BTreeSet<Vec<u8>>,
    /// Whether the secret has more parts than are kept.
    pub(crate) is_cut: bool,
}

/// Takes a secret's content apart. Content that is a common word, or too short, has no parts.
///
/// A trailing line break does not count: what is found with it is found without it.
pub(crate) fn parts(content: &[u8]) -> Parts {
    let mut parts = Parts::default();
    let text = std::str::from_utf8(content).ok().filter(|text| !text.contains('\0'));
    match text {
        Some(text) => {
            let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
            if !is_common(text) {
                parts.add_long(text.as_bytes());
                parts.add_text(text, Says::Nothing, 0);
                if !text.contains('\n') && !text.starts_with(['{', '[', '<']) {
                    // A file of one word is that word; of `user:password`, the password.
                    let password = text.split_once(':').map(|(_, password)| password.trim());
                    let password = password.filter(|rest| !rest.starts_with("//")).unwrap_or(text);
                    parts.add_value(Says::Secret, password, 0);
                }
            }
        }
        None => {
            parts.add_long(content);
            for encoded in base64_encoded(content) {
                parts.add_long(encoded.as_bytes());
            }
        }
    }
    parts
}

impl Parts {
    fn add(&mut self, part: &[u8]) {
        if part.len() < SHORTEST || part.len() > LONGEST {
            return;
        }
        if self.parts.len() >= MOST && !self.parts.contains(part) {
            self.is_cut = true;
            return;
        }
        self.parts.insert(part.to_owned());
    }

    /// Adds content of any length, in pieces where it is long.
    fn add_long(&mut self, content: &[u8]) {
        content.chunks(LONGEST).for_each(|piece| self.add(piece));
        // The rest may be too short to be a part of its own.
        if content.len() > LONGEST {
            self.add(&content[content.len() - LONGEST..]);
        }
    }

    /// Adds what is secret in a text of several lines or of one. `says` is what the key says whose value it is.
    fn add_text(&mut self, text: &str, says: Says, depth: usize) {
        if depth >= DEEPEST {
            return;
        }
        if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
            self.add_json(says, &value, depth + 1);
            return;
        }
        let has_lines = text.contains('\n');
        // The first line of the block that a line is in, of PEM.
        let mut block: Option<&str> = None;
        for line in text.lines().map(str::trim) {
            if line.contains("-----BEGIN ") || line.contains("-----END ") {
                block = Some(line).filter(|line| line.contains("-----BEGIN "));
                continue;
            }
            match block {
                Some(begin) if begin.contains("CERTIFICATE") || begin.contains("PUBLIC") => {}
                Some(_) if line.len() >= SHORTEST_OF_KEY => self.add_long(line.as_bytes()),
                Some(_) => {}
                None => self.add_line(line, has_lines, depth),
            }
        }
    }

    fn add_json(&mut self, says: Says, value: &Value, depth: usize) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.add_json(Says::of(key), value, depth);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.add_json(says, value, depth)),
            Value::String(text) => self.add_value(says, text, depth),
            Value::Number(number) => self.add_value(says, &number.to_string(), depth),
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// Adds what is secret in one line of a text. A line alone is a value, which the caller adds.
    fn add_line(&mut self, line: &str, has_lines: bool, depth: usize) {
        let unexported = line.strip_prefix("export ").unwrap_or(line);
        let assigned = assignment(unexported.strip_prefix("- ").unwrap_or(unexported).trim());
        let says = assigned.map(|(key, _)| Says::of(key.trim_matches(['"', '\''])));
        if says != Some(Says::Public) {
            self.add_words(line, depth);
        }
        let is_comment = line.starts_with(['#', ';']) || line.starts_with("// ") || line.starts_with("<!--");
        let is_section = line.starts_with('[') && line.ends_with(']');
        if line.is_empty() || is_comment || is_section || line.starts_with("ssh-") || line.starts_with("ecdsa-") {
            return;
        }
        if line.starts_with('<') {
            return self.add_xml(line, depth);
        }
        match assigned {
            Some((key, value)) => {
                self.add_value(says.unwrap_or(Says::Nothing), value, depth);
                // As curl and many a tool take a login: `user = "NAME:PASSWORD"`.
                if key.trim_matches(['"', '\'', '-']).to_lowercase().ends_with("user")
                    && let Some((_, password)) = bare(value).split_once(':').filter(|(_, rest)| !rest.starts_with("//"))
                {
                    self.add_value(Says::Secret, password, depth);
                }
            }
            None if has_lines => self.add_bare(line, depth),
            None => {}
        }
    }

    /// Adds the words of a line that look like tokens, and the words behind those that announce a secret: `.netrc` has
    /// `machine HOST login USER password WORD`, headers of HTTP have `Authorization: Bearer WORD`.
    fn add_words(&mut self, line: &str, depth: usize) {
        let mut words = line.split(char::is_whitespace).filter(|word| !word.is_empty()).peekable();
        while let Some(word) = words.next() {
            if word.contains("://") {
                self.add_address(word, depth);
            }
            for word in word.split(['"', '\'', '=', ':', ',', ';', '<', '>', '(', ')', '@', '`']) {
                if is_token(word) && !is_plain(word) {
                    self.add(word.as_bytes());
                }
            }
            let announces = matches!(word, "password" | "passwd" | "account" | "Bearer" | "bearer" | "Basic" | "token");
            if let Some(next) = words.peek().filter(|_| announces) {
                self.add_value(Says::Secret, next, depth);
            }
        }
    }

    /// Adds a line that is neither a key with its value nor anything else that is known.
    fn add_bare(&mut self, line: &str, depth: usize) {
        // `.pgpass`: host:port:database:user:password.
        let fields: Vec<&str> = line.splitn(5, ':').collect();
        if let [_, port, _, _, password] = fields.as_slice()
            && port.chars().all(|digit| digit.is_ascii_digit() || digit == '*')
        {
            return self.add_value(Says::Secret, password, depth);
        }
        let is_netrc = ["machine ", "login ", "default ", "password ", "account ", "macdef "]
            .iter()
            .any(|word| line.starts_with(word));
        let is_flag = line.starts_with("--");
        let is_open = line.ends_with([':', '{', '[', '(', '|', '>']) || line.starts_with(['}', ']', ')']);
        if !(is_netrc || is_flag || is_open || line.contains("://") || is_plain(line) || is_common(line)) {
            self.add_long(line.as_bytes());
        }
    }

    /// Adds a value, and what is secret in it.
    fn add_value(&mut self, says: Says, value: &str, depth: usize) {
        let value = bare(value);
        if depth >= DEEPEST || value.len() < SHORTEST {
            return;
        }
        if let Some(plain) = unescaped(value) {
            self.add_value(says, &plain, depth + 1);
        }
        if value.contains('\n') || value.starts_with(['{', '[']) {
            self.add_text(value, says, depth + 1);
        }
        let words: Vec<&str> = value.split_whitespace().collect();
        if let [kind, word] = words.as_slice()
            && ["bearer", "basic", "token"].contains(&kind.to_lowercase().as_str())
        {
            return self.add_value(Says::Secret, word, depth + 1);
        }
        if value.contains("://") {
            return self.add_address(value, depth);
        }
        let is_secret = match says {
            Says::Secret => !is_reference(value) && !is_path(value),
            Says::Nothing => looks_random(value) && !is_plain(value),
            Says::Public => false,
        };
        if !is_secret || is_common(value) {
            return;
        }
        if !value.contains('\n') {
            self.add_long(value.as_bytes());
        }
        if let Some(plain) = percent_decoded(value) {
            self.add_value(Says::Secret, &plain, depth + 1);
        }
        if let Some(text) = base64_text(value) {
            // A login as docker, npm and HTTP write it. Its user is none of a secret.
            let secret =
                text.split_once(':').filter(|_| !text.contains('\n')).map_or(text.as_str(), |(_, password)| password);
            self.add_value(Says::Secret, secret, depth + 1);
        }
    }

    /// Adds what is secret in an address: the password, or the user where there is none; values of its query that say so;
    /// and parts of its path that look like tokens, such as those of webhooks.
    fn add_address(&mut self, address: &str, depth: usize) {
        let Some((_, rest)) = address.split_once("://") else { return };
        let rest = rest.trim_end_matches(['"', '\'', ',', ';', ')', '>']);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may have slashes in it that nobody encoded.
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        for (text, is_secret) in [(password, true), (user, password.is_empty() || is_token(user))] {
            if is_secret && !is_reference(text) && !is_common(text) {
                self.add(text.as_bytes());
                percent_decoded(text).into_iter().for_each(|text| self.add(text.as_bytes()));
            }
        }
        for (key, value) in query.split(['&', '#']).filter_map(|pair| pair.split_once('=')) {
            if names::is_secret(key) {
                self.add_value(Says::Secret, value, depth + 1);
                percent_decoded(value).into_iter().for_each(|value| self.add_value(Says::Secret, &value, depth + 1));
            }
        }
        for part in rest.split('/').skip(1).filter(|part| is_token(part)) {
            self.add(part.as_bytes());
        }
    }

    /// Adds the values of a line of XML: `<password>VALUE</password>`, and `<add key="ClearTextPassword" value="VALUE" />` as
    /// NuGet has it.
    fn add_xml(&mut self, line: &str, depth: usize) {
        let attributes: Vec<(&str, &str)> = line.split('"').collect::<Vec<_>>().chunks(2).filter_map(pair).collect();
        let named = attributes.iter().find(|(name, _)| matches!(*name, "key" | "name")).map(|(_, name)| *name);
        for (name, value) in attributes.iter().filter(|(name, _)| !matches!(*name, "key" | "name")) {
            let key = named.filter(|_| *name == "value").unwrap_or(name);
            self.add_value_of_xml(key, value, depth);
        }
        for element in line.split('<').skip(1) {
            let Some((tag, text)) = element.split_once('>') else { continue };
            self.add_value_of_xml(tag.split_whitespace().next().unwrap_or_default(), text, depth);
        }
    }

    fn add_value_of_xml(&mut self, key: &str, value: &str, depth: usize) {
        self.add_value(Says::of(key), value, depth);
        xml_decoded(value).into_iter().for_each(|value| self.add_value(Says::of(key), &value, depth));
    }
}

/// An attribute of XML: what stands before its first quote, of which the last word is its name, and its value.
fn pair<'l>(halves: &[&'l str]) -> Option<(&'l str, &'l str)> {
    let [before, value] = halves else { return None };
    Some((before.trim_end_matches(['=', ' ']).rsplit(char::is_whitespace).next()?, value))
}

/// The key and the value of a line: `KEY=VALUE`, `key = value`, `key: value`, and `key:value` where the key is one word.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let colon = line.find(':').filter(|colon| {
        let (key, rest) = (&line[..*colon], &line[colon + 1..]);
        // An address, or one of the fields of `.pgpass`.
        rest.starts_with(char::is_whitespace)
            || !key.contains(['/', '=', ' ']) && !rest.starts_with("//") && !rest.contains(':')
    });
    let at = match (line.find('='), colon) {
        (Some(equals), Some(colon)) => equals.min(colon),
        (equals, colon) => equals.or(colon)?,
    };
    let (key, value) = (line[..at].trim(), line[at + 1..].trim());
    (!key.is_empty()).then_some((key, value))
}

/// A value without its quotes, and without what follows it in its line.
fn bare(value: &str) -> &str {
    let value = value.trim().trim_end_matches([',', ';']);
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote) {
            return inner.rfind(quote).map_or(inner, |end| &inner[..end]);
        }
    }
    value.split(" #").next().unwrap_or(value).trim()
}

/// Whether a value stands for one that is kept elsewhere: `${NPM_TOKEN}`, `$(cat token)`, `<token>`.
fn is_reference(value: &str) -> bool {
    let is_between = |begin: &str, end: &str| value.starts_with(begin) && value.ends_with(end);
    is_between("${", "}") || is_between("$(", ")") || is_between("{{", "}}") || is_between("<", ">")
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
