//! The fields of one bake target, as buildx v0.35 writes them (its bake/bake.go, `Target` and `toBuildOpt`).
//!
//! Lists that buildx once wrote as strings and now writes as objects are read in both forms. Fields that cannot change
//! what a step's cache key is are known and passed over; the rest of the unknown ones become warnings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use super::build::{Context, Dockerfile, NamedContext, Policy, SecretSource, SshAgent, Target};
use super::flags;
use crate::units;

/// Fields that change no cache key: what comes out, how it is signed, limits (see BuildKit's solver/llbsolver/ops).
const HARMLESS: [&str; 9] =
    ["annotations", "attest", "cache-to", "call", "description", "output", "resources", "tags", "name"];

/// Fields that only buildx can resolve.
const UNRESOLVED: [&str; 2] = ["inherits", "matrix"];

/// One target's fields, with the words to complain about them.
pub(super) struct Fields<'a> {
    /// The target's name.
    pub(super) target: &'a str,
    /// Its fields.
    pub(super) fields: &'a Map<String, Value>,
}

/// Reads one target; fields that are not known are added to `warnings`.
pub(super) fn target(
    fields: &Fields<'_>,
    is_variable: &dyn Fn(&str) -> bool,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Target> {
    for field in UNRESOLVED {
        let empty = fields.get(field).is_none_or(|value| value.as_array().is_some_and(Vec::is_empty));
        ensure!(empty, "`{field}` has to be resolved by buildx first");
    }
    warnings.extend(fields.unknown());

    let context = context(fields.text("context")?.as_deref().unwrap_or("."))?;
    let dockerfile = dockerfile(fields)?;
    let mut target = Target::new(fields.target, context);
    target.dockerfile = dockerfile;
    target.stage = fields.text("target")?.filter(|stage| !stage.is_empty());
    target.build_args = fields.map("args")?;
    target.labels = fields.map("labels")?;
    for platforms in fields.texts("platforms")? {
        target.platforms.extend(flags::platforms(&platforms)?);
    }
    for (name, value) in fields.map("contexts")? {
        // buildx drops empty ones.
        if !value.is_empty() {
            target.named_contexts.insert(name, named_context(&value)?);
        }
    }
    for entry in fields.list("cache-from")? {
        let attributes = match entry {
            Value::String(text) => match flags::attributes(text).context("`cache-from`")? {
                Some(attributes) => attributes,
                None => {
                    target.donors.extend(flags::cache_from(text).context("`cache-from`")?);
                    continue;
                }
            },
            Value::Object(object) => strings(object, "cache-from")?,
            _ => bail!("`cache-from` has an entry that is neither a string nor an object"),
        };
        match attributes.get("type").filter(|kind| !flags::is_importable(kind)) {
            // As buildx does where its builder has no such cache.
            Some(kind) => warnings.push(format!(
                "target {}: its cache of type {kind} is left out, for only those of types registry and local can be read; \
                 --cache-from replaces it",
                fields.target
            )),
            None => target.donors.push(flags::donor(attributes).context("`cache-from`")?),
        }
    }
    target.secrets = secrets(fields, is_variable)?;
    target.ssh = ssh(fields, &target.context)?;
    target.network = flags::network(fields.text("network")?.as_deref().unwrap_or_default())?;
    target.shm_size = fields.size("shm-size")?.filter(|bytes| *bytes > 0);
    for limit in fields.texts("ulimits")? {
        target.ulimits.push(flags::ulimit(&limit)?);
    }
    target.extra_hosts = extra_hosts(fields)?;
    // buildx v0.35 prints it with a capital letter.
    let is_off =
        |policy: &Value| ["disabled", "Disabled"].iter().any(|name| policy.get(name) == Some(&Value::Bool(true)));
    target.policy = match fields.list("policy")? {
        [] => Policy::Beside,
        policies if policies.iter().all(is_off) => Policy::Off,
        _ => Policy::Given,
    };
    target.no_cache = fields.flag("no-cache")?;
    target.pulls = fields.flag("pull")?;
    target.no_cache_stages = fields.texts("no-cache-filter")?;
    target.entitlements = fields.texts("entitlements")?;
    Ok(target)
}

fn context(text: &str) -> anyhow::Result<Context> {
    ensure!(text != "-", "a context from stdin cannot be warmed");
    if flags::is_remote(text) {
        return Ok(Context::Remote(text.to_owned()));
    }
    Ok(Context::Local(PathBuf::from(text.strip_prefix("cwd://").unwrap_or(text))))
}

fn named_context(text: &str) -> anyhow::Result<NamedContext> {
    flags::named_context(text).context("`contexts`")
}

fn dockerfile(fields: &Fields<'_>) -> anyhow::Result<Dockerfile> {
    if let Some(text) = fields.text("dockerfile-inline")?.filter(|text| !text.is_empty()) {
        return Ok(Dockerfile::Inline(text));
    }
    match fields.text("dockerfile")?.as_deref() {
        None | Some("" | "Dockerfile") => Ok(Dockerfile::Path(None)),
        Some("-") => bail!("a Dockerfile from stdin cannot be warmed"),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            bail!("a Dockerfile from a URL is not supported yet: {url}")
        }
        Some(path) => Ok(match path.strip_prefix("cwd://") {
            Some(path) => Dockerfile::Path(Some(PathBuf::from(path))),
            None => Dockerfile::InContext(PathBuf::from(path)),
        }),
    }
}

fn secrets(fields: &Fields<'_>, is_variable: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<SecretSource>> {
    let mut secrets: Vec<SecretSource> = Vec::new();
    for entry in fields.list("secret")? {
        let secret = match entry {
            Value::String(text) => flags::secret(text, is_variable),
            Value::Object(object) => {
                let mut parts = strings(object, "secret")?;
                let mut part = |name: &str| parts.remove(name).unwrap_or_default();
                flags::secret_source(part("id"), part("src"), part("env"), is_variable)
            }
            _ => bail!("`secret` has an entry that is neither a string nor an object"),
        };
        let secret = secret.context("`secret`")?;
        // The last one of an id wins, as in buildx.
        secrets.retain(|known| known.id != secret.id);
        secrets.push(secret);
    }
    Ok(secrets)
}

fn ssh(fields: &Fields<'_>, context: &Context) -> anyhow::Result<Vec<SshAgent>> {
    let mut agents: Vec<SshAgent> = Vec::new();
    for entry in fields.list("ssh")? {
        let agent = match entry {
            Value::String(text) => flags::ssh(text).context("`ssh`")?,
            Value::Object(object) => {
                let id = object.get("id").and_then(Value::as_str).unwrap_or_default();
                let paths = object.get("paths").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                flags::ssh_agent(id, paths.iter().filter_map(Value::as_str)).context("`ssh`")?
            }
            _ => bail!("`ssh` has an entry that is neither a string nor an object"),
        };
        agents.retain(|known| known.id != agent.id);
        agents.push(agent);
    }
    if let (Context::Remote(url), true) = (context, agents.is_empty()) {
        agents.extend(flags::agent_of(url));
    }
    Ok(agents)
}

fn extra_hosts(fields: &Fields<'_>) -> anyhow::Result<Vec<(String, String)>> {
    let mut hosts = Vec::new();
    if let Some(Value::Array(_)) = fields.get("extra-hosts") {
        for text in fields.texts("extra-hosts")? {
            let parts = text.split_once('=').or_else(|| text.split_once(':'));
            let (host, addresses) = parts.with_context(|| format!("bad format for add-host: \"{text}\""))?;
            hosts.extend(flags::extra_host(host, addresses)?);
        }
        return Ok(hosts);
    }
    for (host, addresses) in fields.map("extra-hosts")? {
        hosts.extend(flags::extra_host(&host, &addresses)?);
    }
    Ok(hosts)
}

/// An object whose values are all strings; anything else in it is an error.
fn strings(object: &Map<String, Value>, field: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let text = |(key, value): (&String, &Value)| {
        let value = value.as_str().with_context(|| format!("`{field}` has a `{key}` that is not a string"))?;
        Ok((key.clone(), value.to_owned()))
    };
    object.iter().map(text).collect()
}

/// Undoes how `--print` protects `${` and `%{` from being read as templates again.
fn unescaped(text: &str) -> String {
    text.replace("$${", "${").replace("%%{", "%{")
}

impl Fields<'_> {
    /// A field that is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn text(&self, field: &str) -> anyhow::Result<Option<String>> {
        let text = |value: &Value| value.as_str().map(unescaped).with_context(|| format!("`{field}` is not a string"));
        self.get(field).map(text).transpose()
    }

    fn flag(&self, field: &str) -> anyhow::Result<bool> {
        let flag = |value: &Value| value.as_bool().with_context(|| format!("`{field}` is neither true nor false"));
        self.get(field).map_or(Ok(false), flag)
    }

    fn list(&self, field: &str) -> anyhow::Result<&[Value]> {
        let list = |value| Value::as_array(value).with_context(|| format!("`{field}` is not a list"));
        Ok(self.get(field).map(list).transpose()?.map_or(&[], Vec::as_slice))
    }

    fn texts(&self, field: &str) -> anyhow::Result<Vec<String>> {
        let text = |value: &Value| value.as_str().map(unescaped);
        let texts = self.list(field)?.iter().map(text).collect::<Option<Vec<String>>>();
        texts.with_context(|| format!("`{field}` is not a list of strings"))
    }

    /// A map of strings; a null stands for what is not set.
    fn map(&self, field: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let Some(value) = self.get(field) else { return Ok(BTreeMap::new()) };
        let object = value.as_object().with_context(|| format!("`{field}` is not an object"))?;
        let mut map = BTreeMap::new();
        for (key, value) in object {
            match value {
                Value::Null => {}
                Value::String(text) => drop(map.insert(key.clone(), unescaped(text))),
                Value::Number(_) | Value::Bool(_) => drop(map.insert(key.clone(), value.to_string())),
                _ => bail!("`{field}` has a `{key}` that is not a string"),
            }
        }
        Ok(map)
    }

    fn size(&self, field: &str) -> anyhow::Result<Option<u64>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                number.as_u64().map(Some).with_context(|| format!("`{field}` is not a size"))
            }
            Some(Value::String(text)) => units::size(text).map(Some),
            Some(_) => bail!("`{field}` is neither a number nor a string"),
        }
    }

    fn unknown(&self) -> impl Iterator<Item = String> {
        let known = |field: &str| KNOWN.contains(&field) || HARMLESS.contains(&field) || UNRESOLVED.contains(&field);
        let unknown = self.fields.keys().filter(move |field| !known(field));
        unknown.map(|field| format!("bake target {}: `{field}` is not known here and was ignored", self.target))
    }
}

/// Fields that are read above.
const KNOWN: [&str; 20] = [
    "args",
    "cache-from",
    "context",
    "contexts",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "labels",
    "network",
    "no-cache",
    "no-cache-filter",
    "platforms",
    "policy",
    "pull",
    "secret",
    "shm-size",
    "ssh",
    "target",
    "ulimits",
];
