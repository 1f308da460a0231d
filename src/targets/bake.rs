//! Reads what `docker buildx bake --print` writes: which targets, in which order.
//!
//! **Invariant:** a target comes after every target it takes a context from, and nothing that could change a cache key
//! is passed over in silence: what is not understood is an error or a warning. HCL, inheritance, matrices and variables
//! are buildx's business and must have been resolved by it. What the fields of one target mean is in `bake_fields`.

use std::collections::HashSet;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use super::bake_fields::{self, Fields};
use super::build::{NamedContext, Target};
use crate::failure::{Explain, Failure, Kind};

/// How many groups, or targets that take contexts from each other, may be in each other. Ten are many.
const DEEPEST: usize = 100;
/// How to make a file that this module reads.
const PRINT: &str = "write the file with `docker buildx bake --print > bake.json`";

/// The targets of a bake file, in the order they have to be built, and what a person should know about the file.
///
/// `names` are targets or groups (`--bake-target`); when there are none it is the group `default`, else the target
/// `default`. Targets whose results the named ones take as contexts come along. `is_variable` says whether our
/// environment has a variable of that name (a secret without a source is looked up there first).
///
/// # Errors
/// Malformed JSON (with line and column), names that do not exist, cycles, and values that docker would refuse too;
/// all of them are explained.
pub(crate) fn bake_targets(
    json: &[u8],
    names: &[String],
    is_variable: &dyn Fn(&str) -> bool,
) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    read(json, names, is_variable).explain(Kind::Usage, "could not use the bake file", PRINT)
}

fn read(
    json: &[u8],
    names: &[String],
    is_variable: &dyn Fn(&str) -> bool,
) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    let file: Value = serde_json::from_slice(json).context("it is not valid JSON")?;
    let file = file.as_object().context("it is not a JSON object with `group` and `target`")?;
    let mut warnings = Vec::new();
    for key in file.keys() {
        match key.as_str() {
            "group" | "target" => {}
            "variable" | "function" => bail!("it has `{key}`, which only buildx can resolve"),
            other => warnings.push(format!("the bake file has `{other}`, which is not known here and was ignored")),
        }
    }
    let empty = Map::new();
    let section = |name: &str| match file.get(name) {
        None | Some(Value::Null) => Ok(&empty),
        Some(section) => section.as_object().with_context(|| format!("`{name}` is not an object")),
    };
    let bake = Bake { groups: section("group")?, targets: section("target")?, is_variable };
    let mut build = Build { bake: &bake, under_way: Vec::new(), done: Vec::new(), warnings };
    for name in bake.selected(names)? {
        build.add(&name)?;
    }
    Ok((build.done, build.warnings))
}

/// What the names stand for. A group that two others name is looked at once.
#[derive(Default)]
struct Selected {
    targets: Vec<String>,
    groups: HashSet<String>,
}

struct Bake<'a> {
    groups: &'a Map<String, Value>,
    targets: &'a Map<String, Value>,
    is_variable: &'a dyn Fn(&str) -> bool,
}

impl Bake<'_> {
    /// The targets asked for, groups resolved, each once.
    fn selected(&self, names: &[String]) -> anyhow::Result<Vec<String>> {
        let mut selected = Selected::default();
        if names.is_empty() {
            ensure_known(self.has("default"), "default", "it names no default", self)?;
            self.expand("default", &mut Vec::new(), &mut selected)?;
        }
        for name in names {
            ensure_known(self.has(name), name, "it has no target or group of that name", self)?;
            self.expand(name, &mut Vec::new(), &mut selected)?;
        }
        Ok(selected.targets)
    }

    fn has(&self, name: &str) -> bool {
        self.groups.contains_key(name) || self.targets.contains_key(name)
    }

    /// A group's name wins over a target's, as in buildx; within a group its own name means the target.
    fn expand(&self, name: &str, way: &mut Vec<String>, selected: &mut Selected) -> anyhow::Result<()> {
        let its_own = way.last().is_some_and(|group| group == name) && self.targets.contains_key(name);
        let Some(group) = self.groups.get(name).filter(|_| !its_own) else {
            ensure!(
                self.targets.contains_key(name),
                "the group {} names the target {name}, which does not exist",
                way.last().map_or("", String::as_str)
            );
            if !selected.targets.iter().any(|known| known == name) {
                selected.targets.push(name.to_owned());
            }
            return Ok(());
        };
        ensure!(
            !way.iter().any(|group| group == name),
            "groups name each other in a circle: {} → {name}",
            way.join(" → ")
        );
        ensure!(way.len() < DEEPEST, "more than {DEEPEST} groups are in each other");
        if !selected.groups.insert(name.to_owned()) {
            return Ok(());
        }
        let members = group.get("targets").and_then(Value::as_array);
        let members = members.with_context(|| format!("the group {name} has no list of targets"))?;
        way.push(name.to_owned());
        for member in members {
            let member =
                member.as_str().with_context(|| format!("the group {name} names something that is no string"))?;
            self.expand(member, way, selected)?;
        }
        way.pop();
        Ok(())
    }

    fn names(&self) -> String {
        let groups = self.groups.keys().map(|name| format!("{name} (group)"));
        let names: Vec<String> = groups.chain(self.targets.keys().cloned()).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    }
}

fn ensure_known(known: bool, name: &str, what: &str, bake: &Bake<'_>) -> anyhow::Result<()> {
    if known {
        return Ok(());
    }
    let hint = format!("choose with --bake-target; the file has {}", bake.names());
    Err(Failure::new(Kind::Usage, format!("could not find `{name}` in the bake file: {what}"), hint))
}

/// The targets that are done, in the order they have to be built.
struct Build<'a> {
    bake: &'a Bake<'a>,
    under_way: Vec<String>,
    done: Vec<Target>,
    warnings: Vec<String>,
}

impl Build<'_> {
    fn add(&mut self, name: &str) -> anyhow::Result<()> {
        if self.done.iter().any(|target| target.name == name) {
            return Ok(());
        }
        let way = || self.under_way.join(" → ");
        ensure!(
            !self.under_way.iter().any(|known| known == name),
            "targets need each other in a circle: {} → {name}",
            way()
        );
        ensure!(self.under_way.len() < DEEPEST, "more than {DEEPEST} targets take contexts from each other");
        let from =
            self.under_way.last().map_or_else(String::new, |user| format!(", from which {user} takes a context"));
        let fields = self.bake.targets.get(name).with_context(|| format!("there is no target {name}{from}"))?;
        let fields = fields.as_object().with_context(|| format!("the target {name} is not an object"))?;
        let fields = Fields { target: name, fields };
        let target = bake_fields::target(&fields, self.bake.is_variable, &mut self.warnings)
            .with_context(|| format!("target {name}"))?;
        self.under_way.push(name.to_owned());
        for context in target.named_contexts.values() {
            if let NamedContext::Target(needed) = context {
                self.add(needed)?;
            }
        }
        self.under_way.pop();
        self.done.push(target);
        Ok(())
    }
}

#[cfg(test)]
#[path = "bake_tests.rs"]
mod tests;
