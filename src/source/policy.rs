//! The policies that docker buildx applies to a build because they lie beside its Dockerfile (`loadInputs` in its
//! `build/opt.go`). None is evaluated here.

use crate::failure::{Failure, Kind};
use crate::foreign;
use crate::targets::{Dockerfile, Target};

/// Bytes of the largest policy that is read.
const LIMIT: u64 = 16 * 1024 * 1024;
/// What a policy calls or defines to exchange an image, or to give steps another network (`policy/funcs.go` and
/// `policy/types.go` of buildx). All else of it allows or refuses.
const EXCHANGES: [&str; 2] = ["pin_image", "exec.proxy"];

/// A warning for each target that has one.
///
/// # Errors
/// A usage error for one that may exchange what a build is made from.
pub(crate) fn policies(targets: &[Target]) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for target in targets {
        let Dockerfile::Path(Some(path)) = &target.dockerfile else { continue };
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let name = format!("{}.rego", name.to_string_lossy());
        let file = directory.join(&name);
        if !file.exists() {
            continue;
        }
        let text = foreign::read_inside(directory, &file, LIMIT);
        let exchanges = match &text {
            Ok(text) => EXCHANGES.iter().any(|word| text.windows(word.len()).any(|part| part == word.as_bytes())),
            Err(_) => true,
        };
        if exchanges {
            let what = format!(
                "target {}: {name} lies beside its Dockerfile, a policy by which docker buildx may exchange what the build is \
                 made from, and none is evaluated here",
                target.name
            );
            return Err(Failure::new(Kind::Usage, what, "build from a directory without it, in CI as well"));
        }
        warnings.push(format!(
            "target {}: {name} lies beside its Dockerfile, a policy by which docker buildx may refuse the build; it is not \
             evaluated here",
            target.name
        ));
    }
    Ok(warnings)
}
