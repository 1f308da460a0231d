//! Which records a rule is about, in containerd's filter language (its `pkg/filters`): conditions parted by commas must
//! all hold; of several filters one is enough.

use anyhow::{Context, bail};
use regex::Regex;

use crate::inspect::records::Record;

/// One filter.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Vec<Condition>);

#[derive(Debug, Clone)]
struct Condition {
    field: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    /// The field is there.
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filter {
    /// Reads one.
    ///
    /// # Errors
    /// When BuildKit would refuse it.
    pub(super) fn parse(text: &str) -> anyhow::Result<Filter> {
        if text.is_empty() {
            return Ok(Filter(Vec::new()));
        }
        let mut conditions = Vec::new();
        let mut rest = text;
        loop {
            let (condition, after) = condition(rest).with_context(|| format!("in the filter `{text}`"))?;
            conditions.push(condition);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None if after.is_empty() => return Ok(Filter(conditions)),
                None => bail!("in the filter `{text}`: unexpected `{after}`"),
            }
        }
    }

    /// Whether a record is meant.
    pub(super) fn is_about(&self, record: &Record) -> bool {
        self.0.iter().all(|condition| condition.holds(record))
    }
}

impl Condition {
    fn holds(&self, record: &Record) -> bool {
        let value = field(record, &self.field);
        match (&self.test, value) {
            (Test::Present, value) => value.is_some(),
            (Test::Equal(text), value) => value.is_some_and(|value| value == *text),
            (Test::NotEqual(text), value) => value.is_none_or(|value| value != *text),
            (Test::Matches(regex), value) => value.is_some_and(|value| regex.is_match(&value)),
        }
    }
}

/// What BuildKit lets filters see of a record that nobody uses.
fn field(record: &Record, name: &str) -> Option<String> {
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let is = |holds: bool| holds.then(String::new);
    match name {
        "id" => filled(record.id.clone()),
        "parents" => filled(record.parents.join(";")),
        "description" => filled(record.description.clone()),
        "type" => filled(record.record_type.name().to_owned()),
        "mutable" => is(record.is_mutable()),
        "immutable" => is(!record.is_mutable()),
        "private" => is(true),
        _ => None,
    }
}

fn condition(text: &str) -> anyhow::Result<(Condition, &str)> {
    let end = text.find(['=', '!', '~', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let name = name.trim().to_owned();
    if name.is_empty() || !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        bail!("a condition without a field");
    }
    for (operator, make) in OPERATORS {
        if let Some(after) = rest.strip_prefix(operator) {
            let (value, after) = value(after)?;
            return Ok((Condition { field: name, test: make(value)? }, after));
        }
    }
    if rest.is_empty() || rest.starts_with(',') {
        return Ok((Condition { field: name, test: Test::Present }, rest));
    }
    bail!("unknown operator in `{rest}`")
}

type MakeTest = fn(String) -> anyhow::Result<Test>;

const OPERATORS: [(&str, MakeTest); 3] = [
    ("==", |text| Ok(Test::Equal(text))),
    ("!=", |text| Ok(Test::NotEqual(text))),
    ("~=", |text| Ok(Test::Matches(Regex::new(&text)?))),
];

/// A value: in quotation marks with Go's escapes, or up to the next comma.
fn value(text: &str) -> anyhow::Result<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        if value.is_empty() {
            bail!("a condition without a value");
        }
        return Ok((value.to_owned(), rest));
    };
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            '"' if !escaped => {
                let value = serde_json::from_str(&format!("\"{}\"", &quoted[..at])).context("an unknown escape")?;
                return Ok((value, &quoted[at + 1..]));
            }
            _ => escaped = character == '\\' && !escaped,
        }
    }
    bail!("a quotation mark that is not closed")
}
