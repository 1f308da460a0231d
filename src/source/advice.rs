//! What a person should know about resolved targets before anything is built.

use crate::foreign;
use crate::targets::{Dockerfile, Target, scan};

/// Bytes of the largest Dockerfile that we look at. BuildKit takes no larger one from its frontend.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Warnings about Dockerfiles: build args that nothing takes.
///
/// A Dockerfile that cannot be read, or that is a link out of its directory, gives none: BuildKit says what is wrong with
/// it when it reads it.
pub(crate) fn advice(targets: &[Target]) -> Vec<String> {
    let mut warnings = Vec::new();
    for target in targets {
        let Dockerfile::Path(Some(path)) = &target.dockerfile else { continue };
        let Some(directory) = path.parent() else { continue };
        let Ok(text) = foreign::read_inside(directory, path, LIMIT) else { continue };
        let scan = scan(&String::from_utf8_lossy(&text));
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        for argument in scan.unconsumed(target.build_args.keys().map(String::as_str)) {
            warnings.push(format!("target {}: no ARG of {name} takes the build arg {argument}", target.name));
        }
    }
    // Several targets often share a Dockerfile, but each warning names its target, so all of them stay.
    warnings
}
