//! `cachewarm.toml`: the same settings as the flags, under the flags' names.
//!
//! Keys are checked as a whole when the file is read, so that a misspelt one is never silently without effect.
//! Paths in it mean what they mean on the command line: relative to the current directory.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::trust;
use super::{Given, Origin};
use crate::failure::{Explain, Failure, Kind};

/// Settings whose entries are `K=V`, which the file may hold as a table.
const TABLES: [&str; 4] = ["build-arg", "label", "build-context", "ulimit"];

/// A settings file whose keys are all known.
#[derive(Debug)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    entries: Table,
}

impl SettingsFile {
    /// Reads a file. `names` are the settings there are.
    ///
    /// # Errors
    /// A usage error when it cannot be read, is no TOML, or holds an unknown key.
    pub(crate) fn load(path: &Path, names: &[&str]) -> anyhow::Result<SettingsFile> {
        let text = std::fs::read_to_string(path).explain(
            Kind::Usage,
            format!("could not read the settings file {}", path.display()),
            "name another with --config",
        )?;
        SettingsFile::parse(path, &text, names)
    }

    /// Reads the file of the current directory that nobody named, if there is one; see [`trust`].
    ///
    /// # Errors
    /// A usage error as for [`SettingsFile::load`], when the file is not the caller's own, and when it holds what only
    /// the caller may say.
    pub(crate) fn of_the_directory(path: &Path, names: &[&str]) -> anyhow::Result<Option<SettingsFile>> {
        let Some(text) = trust::read(path)? else { return Ok(None) };
        let file = SettingsFile::parse(path, &text, names)?;
        for (key, value) in &file.entries {
            trust::allows(key, &values(key, value).unwrap_or_default(), path)?;
        }
        Ok(Some(file))
    }

    /// Its path, as it was named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// A usage error when it is no TOML or holds an unknown key.
    pub(crate) fn parse(path: &Path, text: &str, names: &[&str]) -> anyhow::Result<SettingsFile> {
        let entries: Table = toml::from_str(text).explain(
            Kind::Usage,
            format!("could not understand the settings file {}", path.display()),
            "write one `name = value` per line, with the names of the flags",
        )?;
        for key in entries.keys() {
            if !names.contains(&key.as_str()) {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("unknown key `{key}` in {}", path.display()),
                    nearest(key, names).map_or_else(
                        || "`cachewarm warm --help` lists the flags; their names are the keys".to_owned(),
                        |name| format!("did you mean `{name}`?"),
                    ),
                ));
            }
        }
        Ok(SettingsFile { path: path.to_owned(), entries })
    }

    /// A setting that has one value.
    ///
    /// # Errors
    /// A usage error when the file holds a list or a table there.
    pub(crate) fn one(&self, key: &'static str) -> anyhow::Result<Option<Given<String>>> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        match text(value) {
            Some(value) => Ok(Some(self.given(key, value))),
            None => Err(self.given(key, ()).refused("it holds more than one value", "write a single value")),
        }
    }

    /// A repeatable setting: one value or a list, or for `K=V` settings a table.
    ///
    /// # Errors
    /// A usage error when the file holds anything else there.
    pub(crate) fn many(&self, key: &'static str) -> anyhow::Result<Option<Given<Vec<String>>>> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        match values(key, value) {
            Some(values) => Ok(Some(self.given(key, values))),
            None => Err(self.given(key, ()).refused("it is not a list of texts", "write [\"first\", \"second\"]")),
        }
    }

    fn given<T>(&self, key: &'static str, value: T) -> Given<T> {
        Given { value, origin: Origin::Entry { key, file: self.path.clone() } }
    }
}

/// The entries of a repeatable setting; none when the value has another shape, which whoever asks for it refuses.
fn values(key: &str, value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        Value::Table(table) if TABLES.contains(&key) => {
            table.iter().map(|(name, value)| text(value).map(|value| format!("{name}={value}"))).collect()
        }
        value => text(value).map(|value| vec![value]),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// The known name most like an unknown one, if any is like it at all.
fn nearest<'a>(key: &str, names: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(key, name);
    let best = names.iter().copied().max_by(|left, right| likeness(left).total_cmp(&likeness(right)))?;
    (likeness(best) > 0.7).then_some(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> anyhow::Result<SettingsFile> {
        let names = ["builder", "cache-from", "build-arg", "min-hit-rate"];
        SettingsFile::parse(Path::new("cachewarm.toml"), text, &names)
    }

    fn told(error: &anyhow::Error) -> String {
        let failure = Failure::of(error).expect("it was explained");
        format!("{} / {}", failure.what, failure.hint)
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file_and_the_nearest_known_key() {
        let error = parse("builder = 'auto'\ncache_form = 'r/x'").expect_err("the key is misspelt");
        insta::assert_snapshot!(told(&error), @"unknown key `cache_form` in cachewarm.toml / did you mean `cache-from`?");
        let error = parse("[x]\ny = 1").expect_err("the key is like no other");
        insta::assert_snapshot!(told(&error), @"unknown key `x` in cachewarm.toml / `cachewarm warm --help` lists the flags; their names are the keys");
    }

    #[test]
    fn a_list_may_be_written_as_one_value_a_list_or_a_table_where_it_has_names() {
        let file = parse("cache-from = 'r/x'\nbuild-arg = {A = 'x', B = 1}\nmin-hit-rate = 0.5").expect("it is sound");
        let values = |key| file.many(key).expect("it is a list").expect("it is there").value;
        assert_eq!(values("cache-from"), ["r/x"]);
        assert_eq!(values("build-arg"), ["A=x", "B=1"]);
        assert_eq!(file.one("min-hit-rate").expect("one value").expect("it is there").value, "0.5");
    }

    #[test]
    fn a_value_of_the_wrong_shape_is_refused_by_name() {
        let file = parse("builder = ['a', 'b']\ncache-from = {a = 1}").expect("the keys are known");
        insta::assert_snapshot!(told(&file.one("builder").expect_err("a list")), @"could not use `builder` in cachewarm.toml: it holds more than one value / write a single value");
        insta::assert_snapshot!(told(&file.many("cache-from").expect_err("a table")), @r#"could not use `cache-from` in cachewarm.toml: it is not a list of texts / write ["first", "second"]"#);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }
}
