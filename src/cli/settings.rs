//! What was meant: every setting, typed, from the strongest place that gives it.
//!
//! **Invariant:** this is the only file of the program that reads the environment. Secrets come from there alone,
//! never from a flag, which `ps` shows, or a file, which gets committed.

mod check;
mod file;
mod seal;
mod smoke;
mod source;
mod sources;
mod trust;
mod values;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use check::CheckSettings;
pub(crate) use seal::SealSettings;
pub(crate) use smoke::SmokeSettings;
pub(crate) use source::SourceSettings;
pub(crate) use sources::{Given, Origin};
pub(crate) use values::{Format, ReportTo};

use self::source::source_from;
use self::sources::{Separator, Sources};
use super::args::{AwsArgs, BuildArgs, GlobalArgs, OutputArgs, TlsArgs, WarmArgs};
use super::bake::Call;
use super::progress::Mode;
use crate::auth::KeychainOptions;
use crate::buildkit::{ADDRESS_FORMS, Address, DockerHost, Restart, Tls};
use crate::check::Threshold;
use crate::failure::{Failure, Kind};
use crate::warm::OnMiss;

/// The defaults of a command, as one would type them. A setting that is not here has none, or its help says what
/// happens.
type Defaults = [(&'static str, &'static str)];

const DEFAULTS: &Defaults = &[
    ("builder", "auto"),
    ("buildkit-image", "moby/buildkit:buildx-stable-1"),
    ("builder-restart", "no"),
    ("on-miss", "run"),
    ("stall-timeout", "60s"),
    ("manifest", "/var/lib/cachewarm/manifest.json"),
    ("progress", "auto"),
    ("report", "text"),
];

/// The default of a setting of a command, if it has one.
pub(crate) fn default_of(command: &str, name: &str) -> Option<&'static str> {
    let defaults = match command {
        "warm" => DEFAULTS,
        "smoke" => smoke::DEFAULTS,
        "check" => check::DEFAULTS,
        "seal" => seal::DEFAULTS,
        _ => &[],
    };
    defaults.iter().find(|(setting, _)| *setting == name).map(|(_, value)| *value)
}

/// The variable of a setting: `cache-from` is `CACHEWARM_CACHE_FROM`.
pub(crate) fn variable_of(name: &str) -> String {
    format!("CACHEWARM_{}", name.to_uppercase().replace('-', "_"))
}

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

    fn directory(&self, name: &str) -> Option<PathBuf> {
        (self.0)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The folder of docker's configuration.
    fn docker_config(&self) -> Option<PathBuf> {
        self.directory("DOCKER_CONFIG").or_else(|| Some(self.directory("HOME")?.join(".docker")))
    }

    fn setting(&self, name: &'static str) -> anyhow::Result<Option<Given<String>>> {
        let variable = variable_of(name);
        let value = self.filled(&variable)?;
        Ok(value.map(|value| Given { value, origin: Origin::Variable(variable) }))
    }
}

/// Everything `warm` was told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) source: SourceSettings,
    pub(crate) build: BuildSettings,
    pub(crate) cache_optional: bool,
    pub(crate) credentials: KeychainOptions,
    pub(crate) builder: Address,
    /// `BUILDKIT_HOST`.
    pub(crate) buildkit_host: Option<String>,
    pub(crate) tls: Tls,
    pub(crate) docker: DockerHost,
    pub(crate) buildkit_image: String,
    pub(crate) builder_restart: Restart,
    pub(crate) keep_builder: bool,
    pub(crate) root: Option<PathBuf>,
    pub(crate) buildkitd_config: Option<PathBuf>,
    pub(crate) on_miss: OnMiss,
    pub(crate) min_hit_rate: Option<f64>,
    pub(crate) stall_timeout: Duration,
    pub(crate) step_timeout: Option<Duration>,
    pub(crate) prove: Option<bool>,
    pub(crate) manifest: Option<PathBuf>,
    pub(crate) output: Output,
}

/// What is built, still in docker's spelling; `cli/targets.rs` reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildSettings {
    pub(crate) file: Option<Given<String>>,
    pub(crate) target: Option<Given<Vec<String>>>,
    pub(crate) build_arg: Option<Given<Vec<String>>>,
    pub(crate) public: BTreeSet<String>,
    pub(crate) platform: Option<Given<Vec<String>>>,
    pub(crate) build_context: Option<Given<Vec<String>>>,
    pub(crate) secret: Option<Given<Vec<String>>>,
    pub(crate) ssh: Option<Given<Vec<String>>>,
    pub(crate) add_host: Option<Given<Vec<String>>>,
    pub(crate) network: Option<Given<String>>,
    pub(crate) shm_size: Option<Given<String>>,
    /// Of a line of docker's alone.
    pub(crate) cgroup_parent: Option<Given<String>>,
    pub(crate) ulimit: Option<Given<Vec<String>>>,
    pub(crate) label: Option<Given<Vec<String>>>,
    pub(crate) no_cache: bool,
    pub(crate) no_cache_filter: Option<Given<Vec<String>>>,
    pub(crate) allow: Option<Given<Vec<String>>>,
    pub(crate) bake: Option<Given<Vec<String>>>,
    /// The line that names them.
    pub(crate) bake_call: Option<Call>,
    pub(crate) bake_target: Option<Given<Vec<String>>>,
    pub(crate) path_map: Option<Given<Vec<String>>>,
    pub(crate) cache_from: Option<Given<Vec<String>>>,
}

/// What people and machines see.
#[derive(Debug)]
pub(crate) struct Output {
    /// The settings file that was read.
    pub(crate) settings_file: Option<PathBuf>,
    pub(crate) progress: Mode,
    pub(crate) reports: Vec<ReportTo>,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
    /// `CACHEWARM_LOG`.
    pub(crate) log_filter: Option<Given<String>>,
}

impl BuildSettings {
    /// Where the first setting comes from of those that a bake file, or a line of docker's, fixes.
    pub(crate) fn fixed_beside_bake(&self) -> Option<&Origin> {
        let one = [&self.file, &self.network, &self.shm_size].into_iter().flatten().map(|given| &given.origin);
        let lists = [
            &self.target,
            &self.build_arg,
            &self.platform,
            &self.build_context,
            &self.add_host,
            &self.ulimit,
            &self.label,
            &self.no_cache_filter,
        ];
        one.chain(lists.into_iter().flatten().map(|given| &given.origin)).min()
    }
}

impl Settings {
    /// Finds out what was meant.
    ///
    /// # Errors
    /// A usage error that names the place of the value it is about.
    pub(crate) fn resolve(global: GlobalArgs, typed: WarmArgs, environment: &Environment) -> anyhow::Result<Settings> {
        let from = Sources::of("warm", global.config.clone(), environment)?;
        let WarmArgs { source, build, donor, builder, behavior, output } = typed;

        let prove = if behavior.no_prove { Some("false".to_owned()) } else { behavior.prove };
        Ok(Settings {
            source: source_from(&from, source, environment)?,
            cache_optional: match from.switch("cache-optional", donor.cache_optional)? {
                Some(given) => given.value,
                None => from.on("donor-optional", donor.donor_optional)?,
            },
            credentials: credentials_from(&from, donor.aws, environment)?,
            build: build_from(&from, build, donor.cache_from)?,
            builder: from.some("builder", builder.builder)?.read(ADDRESS_FORMS, str::parse)?.value,
            buildkit_host: environment.filled("BUILDKIT_HOST")?,
            tls: tls_from(&from, builder.tls)?,
            docker: docker_from(environment)?,
            buildkit_image: from.some("buildkit-image", builder.container.buildkit_image)?.value,
            builder_restart: from
                .some("builder-restart", builder.container.builder_restart)?
                .read(RESTARTS, str::parse)?
                .value,
            keep_builder: from.on("keep-builder", builder.container.keep_builder)?,
            root: from.path("root", builder.root)?,
            buildkitd_config: from.path("buildkitd-config", builder.buildkitd_config)?,
            on_miss: from.some("on-miss", behavior.on_miss)?.read("run or fail", values::on_miss)?.value,
            min_hit_rate: from
                .one("min-hit-rate", behavior.min_hit_rate)?
                .map(|given| given.read("0.95, say", values::share))
                .transpose()?
                .map(|given| given.value),
            stall_timeout: from
                .some("stall-timeout", behavior.stall_timeout)?
                .read("60s, 5m or 1h30m", values::duration)?
                .value,
            step_timeout: from.duration("step-timeout", behavior.step_timeout)?,
            prove: from.switch("prove", prove)?.map(|given| given.value),
            manifest: from.some("manifest", behavior.manifest)?.read("a path or `none`", values::path_or_none)?.value,
            output: output_from(&from, &global, output, environment)?,
        })
    }
}

fn credentials_from(from: &Sources<'_>, typed: AwsArgs, environment: &Environment) -> anyhow::Result<KeychainOptions> {
    let text = |name, typed| anyhow::Ok(from.one(name, typed)?.map(|given| given.value));
    Ok(KeychainOptions {
        docker_config: environment.docker_config(),
        aws_profile: text("aws-profile", typed.aws_profile)?,
        aws_region: text("aws-region", typed.aws_region)?,
    })
}

fn tls_from(from: &Sources<'_>, typed: TlsArgs) -> anyhow::Result<Tls> {
    Ok(Tls {
        authority: from.path("tlscacert", typed.tlscacert)?,
        certificate: from.path("tlscert", typed.tlscert)?,
        key: from.path("tlskey", typed.tlskey)?,
        server_name: from.one("tlsservername", typed.tlsservername)?.map(|given| given.value),
        may_be_plain: from.on("insecure-tcp", typed.insecure_tcp)?,
    })
}

fn docker_from(environment: &Environment) -> anyhow::Result<DockerHost> {
    Ok(DockerHost {
        host: environment.filled("DOCKER_HOST")?,
        context: environment.filled("DOCKER_CONTEXT")?,
        config: environment.docker_config(),
        tls: environment.filled("DOCKER_TLS_VERIFY")?.is_some(),
        certificates: environment.directory("DOCKER_CERT_PATH"),
    })
}

fn output_from(
    from: &Sources<'_>,
    global: &GlobalArgs,
    typed: OutputArgs,
    environment: &Environment,
) -> anyhow::Result<Output> {
    let reports = from.many("report", typed.report, Separator::Comma)?;
    Ok(Output {
        settings_file: from.file.as_ref().map(|file| file.path().to_owned()),
        progress: progress_from(from, typed.progress, global.quiet.clone())?,
        reports: reports.map(|given| reports_from(&given)).transpose()?.unwrap_or_default(),
        verbosity: verbosity_from(from, global.verbose)?,
        log_filter: environment.setting("log")?,
    })
}

/// What `--builder-restart` takes.
const RESTARTS: &str = "no, always, unless-stopped, on-failure or on-failure:TIMES";

fn build_from(from: &Sources<'_>, typed: BuildArgs, donors: Vec<String>) -> anyhow::Result<BuildSettings> {
    use Separator::{Comma, CommaUnlessAttributes, Line};
    Ok(BuildSettings {
        file: from.one("file", typed.file)?,
        target: from.many("target", typed.target, Comma)?,
        build_arg: from.many("build-arg", typed.build_arg, Line)?,
        public: public_from(from, typed.public)?,
        platform: from.many("platform", typed.platform, Comma)?,
        build_context: from.many("build-context", typed.build_context, Line)?,
        secret: from.many("secret", typed.secret, Line)?,
        ssh: from.many("ssh", typed.ssh, Line)?,
        add_host: from.many("add-host", typed.add_host, Comma)?,
        network: from.one("network", typed.network)?,
        shm_size: from.one("shm-size", typed.shm_size)?,
        cgroup_parent: None,
        ulimit: from.many("ulimit", typed.ulimit, Comma)?,
        label: from.many("label", typed.label, Line)?,
        no_cache: from.on("no-cache", typed.no_cache)?,
        no_cache_filter: from.many("no-cache-filter", typed.no_cache_filter, Comma)?,
        allow: from.many("allow", typed.allow, Comma)?,
        bake: from.many("bake", typed.bake, Line)?,
        bake_call: None,
        bake_target: from.many("bake-target", typed.bake_target, Comma)?,
        path_map: from.many("path-map", typed.path_map, Line)?,
        cache_from: from.many("cache-from", donors, CommaUnlessAttributes)?,
    })
}

/// The build arguments that are no secrets.
fn public_from(from: &Sources<'_>, typed: Vec<String>) -> anyhow::Result<BTreeSet<String>> {
    let given = from.many("public", typed, Separator::Comma)?;
    Ok(given.into_iter().flat_map(|given| given.value).collect())
}

/// The manifest's file; that a person wants none is something else than that nobody said.
fn manifest_from(from: &Sources<'_>, typed: Option<String>) -> anyhow::Result<Option<Option<PathBuf>>> {
    let given = from.one("manifest", typed)?;
    let read = given.map(|given| given.read("a path or `none`", values::path_or_none)).transpose()?;
    Ok(read.map(|given| given.value))
}

fn thresholds_from(from: &Sources<'_>, typed: Vec<String>) -> anyhow::Result<Vec<Threshold>> {
    let require = from.many("require", typed, Separator::Comma)?;
    let thresholds = require.map(|given| given.read_each("extracted=95%, say", str::parse::<Threshold>));
    Ok(thresholds.transpose()?.unwrap_or_default())
}

fn reports_from(given: &Given<Vec<String>>) -> anyhow::Result<Vec<ReportTo>> {
    let reports = given.read_each("text, json, markdown or prometheus, or FORMAT=FILE", values::report)?;
    for (number, report) in reports.iter().enumerate() {
        if reports[..number].iter().any(|earlier| earlier.file == report.file) {
            return Err(given.refused("two reports go to the same place", "give all but one a FILE of its own"));
        }
    }
    Ok(reports)
}

/// `--quiet` counts unless `--progress` was given in a stronger place.
fn progress_from(from: &Sources<'_>, typed: Option<String>, quiet: Option<String>) -> anyhow::Result<Mode> {
    let progress = from.some("progress", typed)?.read("auto, tty, plain, json or quiet", str::parse::<Mode>)?;
    let quiet = from.switch("quiet", quiet)?.filter(|quiet| quiet.value && quiet.origin <= progress.origin);
    Ok(if quiet.is_some() { Mode::Quiet } else { progress.value })
}

fn verbosity_from(from: &Sources<'_>, typed: u8) -> anyhow::Result<u8> {
    let typed = (typed > 0).then(|| typed.to_string());
    let given = from.one("verbose", typed)?;
    given.map_or(Ok(0), |given| Ok(given.read("0, 1, 2 or 3", str::parse::<u8>)?.value))
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
