//! `cachewarm warm`: from settings to a job.

use super::Told;
use crate::buildkit::Create;
use crate::cli::settings::values::{CONNECTIONS, DURATION, FETCH, ON_MISS, PATH_OR_NONE, PROVE, SHARE, SWITCH};
use crate::cli::settings::{self, Sources};
use crate::cli::targets;
use crate::warm::Job;

/// What is warmed, and how.
pub(in crate::cli) fn job(from: &Sources<'_>) -> anyhow::Result<Told<Job>> {
    let mut warnings = Vec::new();
    let keychain = settings::keychain(from)?;
    let create = Create {
        image: from.some("buildkit-image")?.value,
        restart: from.always("builder-restart", (RESTARTS, str::parse))?,
        keep: from.on("keep-builder")?,
        keychain: keychain.clone(),
    };
    let job = Job {
        cache_optional: match from.read("cache-optional", SWITCH)? {
            Some(is_optional) => is_optional,
            None => from.on("donor-optional")?,
        },
        builder: settings::builder(from, Some(create))?,
        keychain,
        on_miss: from.always("on-miss", ON_MISS)?,
        min_hit_rate: from.read("min-hit-rate", SHARE)?,
        fetch: from.always("fetch", FETCH)?,
        fetch_connections: from.always("fetch-connections", CONNECTIONS)?,
        stall_timeout: from.always("stall-timeout", DURATION)?,
        step_timeout: from.read("step-timeout", DURATION)?,
        prove: from.read("prove", PROVE)?,
        manifest: from.always("manifest", PATH_OR_NONE)?,
        build: targets::build_from(from, &mut warnings)?,
    };
    Ok(Told { hidden: job.build.redactor(), job, warnings })
}

/// What `--builder-restart` takes.
const RESTARTS: &str = "no, always, unless-stopped, on-failure or on-failure:TIMES";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;
    use crate::cli::settings::Environment;
    use crate::targets::SecretOrigin;

    #[test]
    fn a_job_carries_the_values_of_build_secrets_that_come_from_variables() {
        let environment = Environment::holding(&[("NPM_TOKEN", "hush"), ("SSH_AUTH_SOCK", "/run/agent")]);
        let line = ["--secret", "id=npm,env=NPM_TOKEN", "--ssh", "default"];
        let from = Sources::typed("warm", &line, &environment).expect("the line is sound");
        let Told { job, warnings, .. } = job(&from).expect("the job is sound");
        assert_eq!(job.build.secrets[&SecretOrigin::Env("NPM_TOKEN".to_owned())], Ok(Some(Secret::from_bytes("hush"))));
        assert_eq!(job.build.ssh_auth_sock, Some("/run/agent".into()));
        assert!(!format!("{job:?}").contains("hush") && warnings.is_empty());
    }
}
