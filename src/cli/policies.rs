//! The policies of a build: the static one of its sources, as docker buildx takes it from a variable (`build/build.go` of
//! buildx), and whether those in rego are turned off.

use std::path::Path;

use anyhow::ensure;

use super::settings::{Given, Origin, Sources};
use crate::buildkit::{SOURCE_POLICY_LIMIT, SourcePolicy};
use crate::failure::{Explain, Kind};
use crate::foreign;
use crate::targets::Policy;

/// Where buildx finds the path of one.
const VARIABLE: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

/// The one of `--source-policy`, else that of the variable.
///
/// # Errors
/// A usage error for one that cannot be read.
pub(super) fn source_policy(from: &Sources<'_>) -> anyhow::Result<Option<SourcePolicy>> {
    let of_buildx = || from.environment.filled(VARIABLE);
    let given = match from.one("source-policy")? {
        None => of_buildx()?.map(|value| Given { value, origin: Origin::Variable(VARIABLE.to_owned()) }),
        given => given,
    };
    let Some(Given { value: path, origin }) = given else { return Ok(None) };
    let read = foreign::read_regular(Path::new(&path), SOURCE_POLICY_LIMIT);
    let policy = read.and_then(|bytes| SourcePolicy::parse(&bytes)).explain(
        Kind::Usage,
        format!("could not use the source policy {path} ({origin})"),
        "correct the file, which `docker buildx build` would take by EXPERIMENTAL_BUILDKIT_SOURCE_POLICY; policies in rego are \
         evaluated by buildx alone",
    )?;
    Ok(Some(policy))
}

/// What `--policy` takes.
pub(super) fn rego(text: &str) -> anyhow::Result<Policy> {
    ensure!(text == "disabled=true", "policies in rego are evaluated by docker buildx alone");
    Ok(Policy::Off)
}
