//! Docker's spellings, as `docker buildx build` flags and bake files share them.
//!
//! Each function reads one value and says what is wrong with it in docker's own words; accepting exactly what buildx
//! v0.35 accepts is the point, because a value that CI takes has to be taken here as well. No environment is read:
//! what a bare `--build-arg NAME` stands for comes in as a closure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};

use super::build::{Donor, DonorKind, NamedContext, SecretOrigin, SecretSource, SshAgent};

/// The address word that docker replaces with the host's address on its bridge.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";

/// The names `--ulimit` takes (go-units).
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The fields of one CSV record; a field may be quoted as a whole, with `""` for a quote inside.
pub(crate) fn csv_fields(text: &str) -> anyhow::Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = quoted_field(quoted).with_context(|| format!("`{text}` is not valid CSV"))?;
            fields.push(field);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None if after.is_empty() => return Ok(fields),
                None => bail!("`{text}` is not valid CSV: a quoted field goes on after its quote"),
            }
        } else {
            let (field, next) = match rest.split_once(',') {
                Some((field, next)) => (field, Some(next)),
                None => (rest, None),
            };
            ensure!(
                !field.contains('"'),
                "`{text}` is not valid CSV: a quote inside a field that does not begin with one"
            );
            fields.push(field.to_owned());
            match next {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
        }
    }
}

/// The field up to its closing quote, and what follows the quote.
fn quoted_field(text: &str) -> anyhow::Result<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"').context("a quote is not closed")?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, after)),
        }
    }
}

/// `--cache-from`: `REF`, several of them parted by commas, `type=registry,ref=REF,…` or `type=local,src=DIR,…`.
pub(crate) fn cache_from(text: &str) -> anyhow::Result<Vec<Donor>> {
    if let Some(attributes) = attributes(text)? {
        return Ok(vec![donor(attributes)?]);
    }
    let named = csv_fields(text)?.into_iter().filter(|field| !field.is_empty());
    let kind = DonorKind::Registry;
    Ok(named.map(|reference| Donor { kind, reference, attributes: BTreeMap::new() }).collect())
}

/// The attributes of a cache import, `type=…,ref=…`; none where it is a reference, or several of them.
pub(crate) fn attributes(text: &str) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    if !text.contains('=') {
        return Ok(None);
    }
    let mut attributes = BTreeMap::new();
    for field in csv_fields(text)? {
        let (key, value) = field.split_once('=').with_context(|| format!("invalid value {field}"))?;
        attributes.insert(key.to_lowercase(), value.to_owned());
    }
    Ok(Some(attributes))
}

/// Whether caches of a type, `registry` where none is said, can be imported.
pub(crate) fn is_importable(kind: &str) -> bool {
    ["registry", "local"].contains(&kind)
}

/// A donor from the attributes of `type=registry,…` or `type=local,…`.
pub(crate) fn donor(mut attributes: BTreeMap<String, String>) -> anyhow::Result<Donor> {
    let given = attributes.remove("type").context("a cache import needs a type, such as type=registry,ref=…")?;
    let (kind, name) = match given.as_str() {
        "registry" => (DonorKind::Registry, "ref"),
        "local" => (DonorKind::Local, "src"),
        _ => bail!("cache imports of type {given} are not supported, only type=registry and type=local"),
    };
    let reference = attributes.remove(name).filter(|reference| !reference.is_empty());
    let reference = reference.with_context(|| format!("a cache import of type {given} needs {name}=…"))?;
    Ok(Donor { kind, reference, attributes })
}

/// `--secret id=…[,src=…|,env=…]`. Without either, the id names the variable or, failing that, the file.
///
/// `is_variable` says whether our environment has a variable of that name.
pub(crate) fn secret(text: &str, is_variable: impl Fn(&str) -> bool) -> anyhow::Result<SecretSource> {
    let (mut id, mut file, mut env, mut kind) = (String::new(), String::new(), String::new(), String::new());
    for field in csv_fields(text).context("failed to parse csv secret")? {
        let (key, value) =
            field.split_once('=').with_context(|| format!("invalid field '{field}' must be a key=value pair"))?;
        match key.to_lowercase().as_str() {
            "type" => {
                ensure!(matches!(value, "file" | "env"), "unsupported secret type \"{value}\"");
                kind = value.to_owned();
            }
            "id" => id = value.to_owned(),
            "src" | "source" => file = value.to_owned(),
            "env" => env = value.to_owned(),
            key => bail!("unexpected key '{key}' in '{field}'"),
        }
    }
    if kind == "env" && env.is_empty() {
        env = std::mem::take(&mut file);
    }
    secret_source(id, file, env, is_variable)
}

/// A secret from its parts; an empty part was not given.
pub(crate) fn secret_source(
    id: String,
    file: String,
    env: String,
    is_variable: impl Fn(&str) -> bool,
) -> anyhow::Result<SecretSource> {
    ensure!(!id.is_empty(), "a secret needs an id");
    // The order is that of BuildKit's session/secrets/secretsprovider.
    let from = match (env.is_empty(), file.is_empty()) {
        (false, _) => SecretOrigin::Env(env),
        (true, false) => SecretOrigin::File(PathBuf::from(file)),
        (true, true) if is_variable(&id) => SecretOrigin::Env(id.clone()),
        (true, true) => SecretOrigin::File(PathBuf::from(&id)),
    };
    Ok(SecretSource { id, from })
}

/// `--ssh default|ID[=SOCKET|KEY[,KEY…]]`.
pub(crate) fn ssh(text: &str) -> anyhow::Result<SshAgent> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    ssh_agent(id, paths.split(','))
}

/// An ssh agent from its parts; an empty path was not given.
pub(crate) fn ssh_agent<'p>(id: &str, paths: impl Iterator<Item = &'p str>) -> anyhow::Result<SshAgent> {
    ensure!(!id.is_empty(), "an ssh agent needs an id, such as default");
    let paths = paths.filter(|path| !path.is_empty()).map(PathBuf::from);
    Ok(SshAgent { id: id.to_owned(), paths: paths.collect() })
}

/// `--ulimit NAME=SOFT[:HARD]`, normalised to `NAME=SOFT:HARD`; -1 is unlimited.
pub(crate) fn ulimit(text: &str) -> anyhow::Result<String> {
    let (name, limits) = text.split_once('=').with_context(|| format!("invalid ulimit argument: {text}"))?;
    ensure!(ULIMITS.contains(&name), "invalid ulimit type: {name}");
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |value: &str| value.parse::<i64>().with_context(|| format!("invalid ulimit value {value} in {text}"));
    let (soft, hard) = (number(soft)?, number(hard)?);
    let within = hard == -1 || (soft != -1 && soft <= hard);
    ensure!(within, "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
    Ok(format!("{name}={soft}:{hard}"))
}

/// `--add-host HOST=IP` or `HOST:IP`; several may be parted by commas.
pub(crate) fn add_host(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut hosts = Vec::new();
    for field in csv_fields(text)? {
        let parts = field.split_once('=').or_else(|| field.split_once(':'));
        let (host, address) = parts.with_context(|| format!("bad format for add-host: \"{field}\""))?;
        hosts.extend(extra_host(host, address)?);
    }
    Ok(hosts)
}

/// A host and its addresses, parted by commas, each an IP (in square brackets or not) or `host-gateway`.
pub(crate) fn extra_host(host: &str, addresses: &str) -> anyhow::Result<Vec<(String, String)>> {
    ensure!(!host.is_empty() && !host.contains([':', ',', '"']), "bad host name in add-host: \"{host}\"");
    let address = |text: &str| {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
        let valid = bare == HOST_GATEWAY || bare.parse::<IpAddr>().is_ok();
        ensure!(valid, "invalid IP address in add-host: \"{text}\"");
        Ok((host.to_owned(), bare.to_owned()))
    };
    addresses.split(',').map(address).collect()
}

/// `--build-context NAME=VALUE`.
pub(crate) fn build_context(text: &str) -> anyhow::Result<(String, NamedContext)> {
    let (name, value) =
        text.split_once('=').with_context(|| format!("invalid context value: {text}, expected key=value"))?;
    Ok((context_name(name)?, named_context(value)?))
}

/// A context's name as BuildKit looks it up: the familiar form of an image name, without `:latest`.
pub(crate) fn context_name(name: &str) -> anyhow::Result<String> {
    ensure!(!name.is_empty() && !name.contains(char::is_whitespace), "invalid context name \"{name}\"");
    let familiar = ["docker.io/library/", "docker.io/"].iter().find_map(|prefix| name.strip_prefix(prefix));
    let familiar = familiar.unwrap_or(name);
    Ok(familiar.strip_suffix(":latest").unwrap_or(familiar).to_owned())
}

/// What a named context stands for.
pub(crate) fn named_context(value: &str) -> anyhow::Result<NamedContext> {
    ensure!(!value.is_empty(), "a build context needs a value");
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(image.to_owned()));
    }
    if let Some(target) = value.strip_prefix("target:") {
        return Ok(NamedContext::Target(target.to_owned()));
    }
    let layout = value.starts_with("oci-layout://");
    ensure!(!layout, "build contexts from an OCI layout are not supported yet: {value}");
    if is_remote(value) {
        return Ok(NamedContext::Remote(value.to_owned()));
    }
    Ok(NamedContext::Local(PathBuf::from(value.strip_prefix("cwd://").unwrap_or(value))))
}

/// Whether the builder fetches this context itself: a git or http(s) URL (BuildKit's dfgitutil.ParseGitRef).
pub(crate) fn is_remote(value: &str) -> bool {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_lowercase());
    match scheme.as_deref() {
        Some("http" | "https" | "git" | "ssh") => true,
        Some(_) => false,
        None => value.starts_with("github.com/") || is_scp_style(value),
    }
}

/// The host and port of a URL that the builder fetches, or of an address as ssh writes it.
pub(crate) fn host_of(url: &str) -> Option<&str> {
    let authority = match url.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next(),
        None if is_scp_style(url) => url.split(':').next(),
        None => url.starts_with("github.com/").then_some("github.com"),
    };
    authority?.rsplit('@').next().filter(|host| !host.is_empty())
}

/// The agent that docker offers unasked: the default one, for a context that is fetched through git over ssh.
pub(crate) fn agent_of(context: &str) -> Option<SshAgent> {
    let is_over_ssh = context.to_lowercase().starts_with("ssh://") || is_scp_style(context);
    is_over_ssh.then(|| SshAgent { id: "default".to_owned(), paths: Vec::new() })
}

/// `user@host:path`.
fn is_scp_style(value: &str) -> bool {
    let word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(&letter))
    };
    value.split_once('@').is_some_and(|(user, rest)| {
        word(user, &['-', '_']) && rest.split_once(':').is_some_and(|(host, _)| word(host, &['-', '.']))
    })
}

/// `--platform`, several parted by commas, each as containerd normalises it. `local` is this machine's, whatever the builder's is.
pub(crate) fn platforms(text: &str) -> anyhow::Result<Vec<String>> {
    let named =
        text.split(',').map(|name| if name.eq_ignore_ascii_case("local") { std::env::consts::ARCH } else { name });
    named.map(platform).collect()
}

fn platform(name: &str) -> anyhow::Result<String> {
    let valid = |part: &str| {
        !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-()".contains(letter))
    };
    let lower = name.trim().to_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    ensure!(parts.len() <= 3 && parts.iter().all(|part| valid(part)), "\"{name}\" is not a platform");
    let (os, architecture, variant) = match parts.as_slice() {
        // A bare word is an architecture of linux, or an operating system, which alone tells too little.
        [word] => {
            ensure!(!matches!(*word, "linux" | "windows" | "darwin" | "freebsd"), "platform \"{name}\" needs os/arch");
            ("linux", *word, "")
        }
        [os, architecture] => (*os, *architecture, ""),
        [os, architecture, variant] => (*os, *architecture, *variant),
        _ => bail!("\"{name}\" is not a platform"),
    };
    let os = if os == "macos" { "darwin" } else { os };
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", if variant == "v1" { "" } else { variant }),
        ("i386", _) => ("386", ""),
        ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7" | "v7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    Ok(if variant.is_empty() { format!("{os}/{architecture}") } else { format!("{os}/{architecture}/{variant}") })
}

/// `--build-arg K=V`, or `K` alone, which takes its value from `lookup` and is not set when that has none.
pub(crate) fn build_arg(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<(String, String)>> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, lookup(text)),
    };
    ensure!(!name.is_empty(), "a build arg needs a name: `{text}`");
    Ok(value.map(|value| (name.to_owned(), value)))
}

/// `--label K=V`, or `K` alone for an empty value.
pub(crate) fn label(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    ensure!(!name.is_empty(), "a label needs a name: `{text}`");
    Ok((name.to_owned(), value.to_owned()))
}

/// `--network`: `host` and `none` mean something to BuildKit, `default` is its own default.
pub(crate) fn network(text: &str) -> anyhow::Result<Option<String>> {
    match text {
        "" | "default" => Ok(None),
        "host" | "none" => Ok(Some(text.to_owned())),
        other => bail!("network mode \"{other}\" is not supported by BuildKit: use default, none or host"),
    }
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
