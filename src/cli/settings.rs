//! What was meant: every setting of the table, from the strongest place that gives it.
//!
//! **Invariant:** this is the only file of the program that reads the environment. Secrets come from there alone,
//! never from a flag, which `ps` shows, or a file, which gets committed.

mod file;
mod given;
mod sources;
mod trust;
pub(crate) mod values;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

pub(crate) use given::{Given, Origin};
pub(crate) use sources::{OF_THE_BUILD, Sources};
pub(crate) use values::{Format, ReportTo};

use super::progress::Mode;
use crate::auth::{Keychain, KeychainOptions, Secret};
use crate::buildkit::{ADDRESS_FORMS, Create, DockerHost, Tls, Wanted};
use crate::check::Threshold;
use crate::failure::{Failure, Kind};

/// The environment of the process, asked one variable at a time.
pub(crate) struct Environment(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<OsString>;

impl Environment {
    /// The real one.
    pub(crate) fn of_this_process() -> Environment {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        Environment(Box::new(|name| std::env::var_os(name)))
    }

    /// One that holds these variables and no others.
    #[cfg(test)]
    pub(crate) fn holding(variables: &[(&str, &str)]) -> Environment {
        let variables: std::collections::BTreeMap<String, OsString> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        Environment(Box::new(move |name| variables.get(name).cloned()))
    }

    /// A variable's text, also when it is empty.
    ///
    /// # Errors
    /// A usage error when it is not UTF-8.
    pub(crate) fn text(&self, name: &str) -> anyhow::Result<Option<String>> {
        // A name with these in it cannot be set, and asking the system for one is a panic waiting to happen.
        if name.is_empty() || name.contains(['=', '\0']) {
            return Ok(None);
        }
        (self.0)(name).map(OsString::into_string).transpose().map_err(|_| {
            Failure::new(
                Kind::Usage,
                format!("could not use {name}: it is not UTF-8"),
                format!("set {name} to plain text"),
            )
        })
    }

    /// A variable's bytes, for what need not be text.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let is_possible = !name.is_empty() && !name.contains(['=', '\0']);
        // Asking the system for one that cannot be set is a panic waiting to happen.
        if is_possible { (self.0)(name).map(OsString::into_vec) } else { None }
    }

    pub(super) fn filled(&self, name: &str) -> anyhow::Result<Option<String>> {
        Ok(self.text(name)?.filter(|value| !value.is_empty()))
    }

    pub(super) fn directory(&self, name: &str) -> Option<PathBuf> {
        (self.0)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The folder of docker's configuration.
    pub(super) fn docker_config(&self) -> Option<PathBuf> {
        self.directory("DOCKER_CONFIG").or_else(|| Some(self.directory("HOME")?.join(".docker")))
    }
}

/// What people and machines see.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) progress: Mode,
    pub(crate) reports: Vec<ReportTo>,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
    /// `CACHEWARM_LOG`.
    pub(crate) log_filter: Option<Given<String>>,
}

/// What people and machines see.
///
/// # Errors
/// A usage error that names the place of the value it is about, as for everything that is read of settings.
pub(crate) fn output(from: &Sources<'_>) -> anyhow::Result<Output> {
    let reports = from.each("report", values::REPORT)?;
    for (number, report) in reports.iter().enumerate() {
        if reports[..number].iter().any(|earlier| earlier.file == report.file)
            && let Some(given) = from.many("report")?
        {
            return Err(given.refused("two reports go to the same place", "give all but one a FILE of its own"));
        }
    }
    let progress = from.some("progress")?.read("auto, tty, plain, json or quiet", str::parse::<Mode>)?;
    // It counts unless --progress was given in a stronger place.
    let quiet = from.switch("quiet")?.filter(|quiet| quiet.value && quiet.origin <= progress.origin);
    let log = "CACHEWARM_LOG";
    Ok(Output {
        progress: if quiet.is_some() { Mode::Quiet } else { progress.value },
        reports,
        verbosity: from.read("verbose", ("0, 1, 2 or 3", str::parse::<u8>))?.unwrap_or(0),
        log_filter: from
            .environment
            .filled(log)?
            .map(|value| Given { value, origin: Origin::Variable(log.to_owned()) }),
    })
}

/// Who logs in where.
pub(crate) fn keychain(from: &Sources<'_>) -> anyhow::Result<Keychain> {
    Ok(Keychain::new(KeychainOptions {
        docker_config: from.environment.docker_config(),
        docker_auth: from.environment.filled("DOCKER_AUTH_CONFIG")?.map(Secret::new),
        aws_profile: from.text("aws-profile")?,
        aws_region: from.text("aws-region")?,
    }))
}

/// The builder; `create` is what a container is like that has to be made for it.
pub(crate) fn builder(from: &Sources<'_>, create: Option<Create>) -> anyhow::Result<Wanted> {
    Ok(Wanted {
        address: from.always("builder", (ADDRESS_FORMS, str::parse))?,
        buildkit_host: from.environment.filled("BUILDKIT_HOST")?,
        tls: tls(from)?,
        docker: docker(from.environment)?,
        create,
        root: from.read("root", values::PATH)?,
        config: from.read("buildkitd-config", values::PATH)?,
        refuse_steps: false,
        entitlements: Vec::new(),
    })
}

fn tls(from: &Sources<'_>) -> anyhow::Result<Tls> {
    Ok(Tls {
        authority: from.read("tlscacert", values::PATH)?,
        certificate: from.read("tlscert", values::PATH)?,
        key: from.read("tlskey", values::PATH)?,
        server_name: from.text("tlsservername")?,
        may_be_plain: from.on("insecure-tcp")?,
    })
}

/// What docker's client finds its daemon by.
///
/// # Errors
/// A usage error when a variable is no text.
pub(super) fn docker(environment: &Environment) -> anyhow::Result<DockerHost> {
    Ok(DockerHost {
        host: environment.filled("DOCKER_HOST")?,
        context: environment.filled("DOCKER_CONTEXT")?,
        config: environment.docker_config(),
        tls: environment.filled("DOCKER_TLS_VERIFY")?.is_some(),
        certificates: environment.directory("DOCKER_CERT_PATH"),
        buildx: environment
            .directory("BUILDX_CONFIG")
            .or_else(|| environment.docker_config().map(|folder| folder.join("buildx"))),
        builder: environment.filled("BUILDX_BUILDER")?,
    })
}

/// The build arguments that are no secrets.
pub(crate) fn public(from: &Sources<'_>) -> anyhow::Result<BTreeSet<String>> {
    Ok(from.many("public")?.into_iter().flat_map(|given| given.value).collect())
}

/// What is required of a root.
pub(crate) fn thresholds(from: &Sources<'_>) -> anyhow::Result<Vec<Threshold>> {
    from.each("require", ("extracted=95%, say", str::parse::<Threshold>))
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
