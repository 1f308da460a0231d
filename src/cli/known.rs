//! The secrets of a build, as far as they are known here: from its flags or its bake file, and from the environment.

use std::collections::BTreeSet;
use std::path::Path;

use super::settings::{Environment, Given, SealSettings};
use super::targets::baked;
use crate::auth::Secret;
use crate::seal::Known;
use crate::targets::{SecretOrigin, SecretSource, flags};
use crate::veil;

/// Variables that are secrets whatever is built.
const SECRETS: [&str; 3] = ["CACHEWARM_GIT_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// Variables that hold addresses, with passwords at times.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// All of them, and what a person should know about what is not looked for.
///
/// # Errors
/// A usage error when a value or the bake file cannot be read, and when a secret that was named is not to be had.
pub(super) fn secrets(settings: &SealSettings, environment: &Environment) -> anyhow::Result<(Vec<Known>, Vec<String>)> {
    let value_of = |name: &str| environment.text(name).ok().flatten();
    let mut known = Vec::new();
    let (mut arguments, mut notes) = (Vec::new(), Vec::new());
    if let Some(given) = &settings.build_arg {
        let argument = |text: &str| match flags::build_arg(text, value_of) {
            Ok(None) if veil::is_secret(text) => Err(anyhow::anyhow!("{text} is not set, so nobody can look for it")),
            read => read,
        };
        arguments.extend(given.read_each("K=V, or K to take it from the environment", argument)?.into_iter().flatten());
    }
    if let Some(given) = &settings.secret {
        let is_variable = |name: &str| value_of(name).is_some();
        let secret = |text: &str| read(&flags::secret(text, is_variable)?, environment);
        known.extend(given.read_each("id=ID,src=FILE or id=ID,env=VARIABLE, of a secret that is there", secret)?);
    }
    if let Some(file) = &settings.bake {
        let (of_targets, sources) = of_bake(file, settings, environment)?;
        arguments.extend(of_targets);
        // Not every build that is baked has to be given every secret.
        for source in sources {
            match read(&source, environment) {
                Ok(secret) => known.push(secret),
                Err(error) => notes.push(format!("secret {} is not looked for: {error:#}", source.id)),
            }
        }
    }
    let mut plain = BTreeSet::new();
    for (name, value) in arguments {
        match of_variable(&format!("build argument {name}"), &name, &value) {
            Some(secret) => known.push(secret),
            None => drop(plain.insert(name)),
        }
    }
    if !plain.is_empty() {
        let names = plain.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!("not taken for secrets, by their names: build arguments {names}"));
    }
    for name in SECRETS {
        known.extend(value_of(name).map(|value| Known { name: name.to_owned(), value: Secret::new(value) }));
    }
    for name in PROXIES {
        known.extend(value_of(name).into_iter().flat_map(|value| of_variable(name, name, &value)));
    }
    known.retain(|secret| !secret.value.is_empty());
    known.sort_by(|a, b| a.name.cmp(&b.name));
    known.dedup_by(|a, b| a.value == b.value);
    Ok((known, notes))
}

/// The build arguments and secrets of a bake file's targets.
type OfBake = (Vec<(String, String)>, Vec<SecretSource>);

fn of_bake(file: &Given<String>, settings: &SealSettings, environment: &Environment) -> anyhow::Result<OfBake> {
    let (targets, _) = baked(file, settings.bake_target.as_ref(), environment)?;
    let (mut arguments, mut sources) = (Vec::new(), Vec::new());
    for target in targets {
        arguments.extend(target.build_args);
        sources.extend(target.secrets.into_iter().filter(|source| !sources.contains(source)).collect::<Vec<_>>());
    }
    Ok((arguments, sources))
}

/// The value of a variable if its name says that it is a secret, else the password of the address that it is, if it is one.
fn of_variable(shown: &str, name: &str, value: &str) -> Option<Known> {
    let secret = match veil::is_secret(name) {
        true => value,
        false => password(value)?,
    };
    Some(Known { name: shown.to_owned(), value: Secret::new(secret) })
}

fn password(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (login, _) = authority.rsplit_once('@')?;
    Some(login.split_once(':').map_or(login, |(_, password)| password))
}

/// The bytes of a secret; those of a file without the line break that editors end it with.
fn read(source: &SecretSource, environment: &Environment) -> anyhow::Result<Known> {
    let value = match &source.from {
        SecretOrigin::Env(name) => environment.text(name)?.ok_or_else(|| anyhow::anyhow!("{name} is not set"))?,
        SecretOrigin::File(path) => of_file(path)?,
    };
    let value = Secret::new(value.trim_end_matches(['\r', '\n']));
    Ok(Known { name: format!("secret {}", source.id), value })
}

fn of_file(path: &Path) -> anyhow::Result<String> {
    use anyhow::Context;
    std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_secret_by_its_name_or_by_its_password() {
        let of = |name: &str, value: &str| of_variable(name, name, value).map(|known| known.value.reveal().to_owned());
        assert_eq!(of("NPM_TOKEN", "x1").as_deref(), Some("x1"));
        assert_eq!(of("MODE", "fast"), None);
        assert_eq!(of("HTTP_PROXY", "http://user:p@ss@proxy:3128/").as_deref(), Some("p@ss"));
        assert_eq!(of("SOURCE", "https://ghp@host/x").as_deref(), Some("ghp"));
        assert_eq!(of("SOURCE", "https://host/a@b"), None);
    }
}
