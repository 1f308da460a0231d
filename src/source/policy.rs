//! The policies in rego of docker buildx, such as the one that it finds beside a Dockerfile (`loadInputs` in its
//! `build/opt.go`). They are evaluated by buildx, source by source while BuildKit builds; nobody else knows what they allow and
//! exchange, so a build that has one is refused.

use crate::failure::{Failure, Kind};
use crate::targets::{Dockerfile, Policy, Target};

/// Looks beside every Dockerfile of ours.
///
/// # Errors
/// A usage error for a target that has a policy.
pub(crate) fn without_policies(targets: &[Target]) -> anyhow::Result<()> {
    for target in targets {
        let policy = match target.policy {
            Policy::Off => None,
            Policy::Given => Some("it has a `policy`".to_owned()),
            Policy::Beside => beside(&target.dockerfile),
        };
        if let Some(policy) = policy {
            return Err(refused(&target.name, &policy));
        }
    }
    Ok(())
}

fn refused(target: &str, policy: &str) -> anyhow::Error {
    let what = format!(
        "target {target}: {policy}, by which docker buildx may refuse the build, or exchange what it is made from; it is \
         evaluated by buildx alone"
    );
    let hint = "build without it, in CI as well; where CI has it turned off, or it exchanges nothing, say --policy \
                disabled=true (in a bake file, `policy = [{ disabled = true }]`)";
    Failure::new(Kind::Usage, what, hint)
}

/// The policy beside a Dockerfile, in words.
fn beside(dockerfile: &Dockerfile) -> Option<String> {
    let Dockerfile::Path(Some(path)) = dockerfile else { return None };
    let name = format!("{}.rego", path.file_name()?.to_string_lossy());
    // buildx reads what a link leads to, and gives up where it cannot.
    let is_there = path.parent()?.join(&name).symlink_metadata().is_ok();
    is_there.then(|| named(&name))
}

fn named(name: &str) -> String {
    format!("{name} lies beside its Dockerfile, a policy")
}

/// Why a target is not built that has a policy of this name where the builder fetches its Dockerfile from.
pub(crate) fn has_policy(target: &str, name: &str) -> anyhow::Error {
    refused(target, &named(name))
}
