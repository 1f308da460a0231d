//! The secrets of a build, as far as they are known here: from its flags or its bake file, and from the environment.

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::bake::baked;
use super::secrets;
use super::settings::{self, Environment, Given, Sources};
use crate::auth::Secret;
use crate::child;
use crate::seal::Known;
use crate::sensitive;
use crate::targets::{SecretSource, flags};

/// Variables that hold addresses, with passwords at times.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// How a secret of a bake file can be had.
const TO_HAVE_IT: &str =
    "set its variable, or put its file where the bake file says: a relative path leads from where the bake file lies";

/// All of them; and to `notes` what a person should know about what is not looked for.
///
/// # Errors
/// A usage error when a value or the bake file cannot be read, and when a secret that was named is not to be had.
pub(super) fn secrets(from: &Sources<'_>, notes: &mut Vec<String>) -> anyhow::Result<Vec<Known>> {
    let (environment, public) = (from.environment, settings::public(from)?);
    let value_of = |name: &str| environment.text(name).ok().flatten();
    let argument = |text: &str| match flags::build_arg(text, value_of) {
        Ok(None) if sensitive::is_secret(text) && !public.contains(text) => {
            Err(anyhow::anyhow!("{text} is not set, so nobody can look for it"))
        }
        read => read,
    };
    let arguments = from.each("build-arg", ("K=V, or K to take it from the environment", argument))?;
    let mut arguments: Vec<(String, String)> = arguments.into_iter().flatten().collect();
    let is_variable = |name: &str| environment.bytes(name).is_some();
    let secret = |text: &str| {
        let source = flags::secret(text, is_variable)?;
        anyhow::Ok((read(&source, environment)?, source))
    };
    let secrets = from.each("secret", ("id=ID,src=FILE or id=ID,env=VARIABLE, of a secret that is there", secret))?;
    let (mut known, mut named): (Vec<Known>, Vec<SecretSource>) = secrets.into_iter().unzip();
    if let Some(file) = &from.many("bake")? {
        let (of_targets, sources) = of_bake(from, file)?;
        arguments.extend(of_targets);
        for source in sources {
            let secret = read(&source, environment);
            let secret = secret.map_err(|error| file.refused(format!("{error:#}"), TO_HAVE_IT))?;
            known.push(secret);
            named.push(source);
        }
    }
    child::withhold(secrets::withheld(&named, arguments.iter().map(|(name, _)| name.as_str())));
    let mut plain = BTreeSet::new();
    for (name, value) in arguments {
        match of_variable(&format!("build argument {name}"), &name, &value) {
            Some(secret) if !public.contains(&name) => known.push(secret),
            _ => drop(plain.insert(name)),
        }
    }
    if !plain.is_empty() {
        let names = plain.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!("not taken for secrets, by their names or --public: build arguments {names}"));
    }
    for name in secrets::OURS {
        known.extend(value_of(name).map(|value| Known { name: name.to_owned(), value: Secret::from_bytes(value) }));
    }
    for name in PROXIES {
        known.extend(value_of(name).into_iter().flat_map(|value| of_variable(name, name, &value)));
    }
    known.retain(|secret| !secret.value.is_empty());
    known.sort_by(|a, b| a.name.cmp(&b.name));
    known.dedup_by(|a, b| a.value == b.value);
    Ok(known)
}

/// The build arguments and secrets of a bake file's targets.
type OfBake = (Vec<(String, String)>, Vec<SecretSource>);

fn of_bake(from: &Sources<'_>, files: &Given<Vec<String>>) -> anyhow::Result<OfBake> {
    let (targets, _) = baked(from, files)?;
    let (mut arguments, mut sources) = (Vec::new(), Vec::new());
    for target in targets {
        arguments.extend(target.build_args);
        sources.extend(target.secrets.into_iter().filter(|source| !sources.contains(source)).collect::<Vec<_>>());
    }
    Ok((arguments, sources))
}

/// The value of a variable if its name says that it is a secret, else the password of the address that it is, if it is one.
fn of_variable(shown: &str, name: &str, value: &str) -> Option<Known> {
    let secret = match sensitive::is_secret(name) {
        true => value,
        false => sensitive::login(value).map(|(user, password)| password.unwrap_or(user))?,
    };
    Some(Known { name: shown.to_owned(), value: Secret::from_bytes(secret) })
}

/// Reads a secret. One that is not there cannot be looked for.
fn read(source: &SecretSource, environment: &Environment) -> anyhow::Result<Known> {
    let what = || format!("secret `{}` cannot be looked for", source.id);
    let value = secrets::read(&source.from, environment).with_context(what)?;
    let unset = || anyhow::anyhow!("{} is not set", source.from);
    let value = value.ok_or_else(unset).with_context(what)?;
    Ok(Known { name: format!("secret {}", source.id), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_secret_by_its_name_or_by_its_password() {
        let of = |name: &str, value: &str| {
            of_variable(name, name, value)
                .map(|known| known.value)
                .map(|value| String::from_utf8(value.reveal_bytes().to_vec()).expect("it is text"))
        };
        assert_eq!(of("NPM_TOKEN", "x1").as_deref(), Some("x1"));
        assert_eq!(of("MODE", "fast"), None);
        assert_eq!(of("HTTP_PROXY", "http://user:p@ss@proxy:3128/").as_deref(), Some("p@ss"));
        assert_eq!(of("SOURCE", "https://ghp@host/x").as_deref(), Some("ghp"));
        assert_eq!(of("SOURCE", "https://host/a@b"), None);
    }
}
