//! Directories that lie elsewhere on the machine that wrote a bake file: compose makes all paths absolute.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::settings::Given;
use super::targets::root_in;
use crate::failure::{Failure, Kind};
use crate::targets::{Context, Dockerfile, NamedContext, SecretOrigin, Target};

/// Puts what `--path-map` says in the place of what targets say: of the maps that fit a path, the longest.
///
/// # Errors
/// A usage error: a map that is none, and one that fits no path of any target.
pub(super) fn apply(targets: &mut [Target], given: &Given<Vec<String>>) -> anyhow::Result<()> {
    let maps = given.read_each("/FROM=TO", read)?;
    let mut used = vec![false; maps.len()];
    for path in targets.iter_mut().flat_map(paths) {
        let fits = (0..).zip(&maps).filter(|(_, (from, _))| path.starts_with(from));
        if let Some((place, (from, to))) = fits.max_by_key(|(_, (from, _))| from.components().count()) {
            used[place] = true;
            let rest = path.strip_prefix(from).unwrap_or(path);
            *path = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
        }
    }
    match used.iter().position(|used| !used) {
        None => targets.iter_mut().try_for_each(|target| root_in(&[Path::new(".")], target)),
        Some(place) => Err(Failure::new(
            Kind::Usage,
            format!("could not use {}: no path of the bake file is below {}", given.origin, maps[place].0.display()),
            "write the directory as the bake file has it",
        )),
    }
}

fn read(text: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (from, to) = text.split_once('=').context("it is no FROM=TO")?;
    ensure!(Path::new(from).is_absolute(), "`{from}` is not absolute");
    Ok((from.into(), if to.is_empty() { ".".into() } else { to.into() }))
}

/// Every path of a target that leads into its directories, or to a file that is a secret.
fn paths(target: &mut Target) -> Vec<&mut PathBuf> {
    let mut paths = Vec::new();
    if let Context::Local(path) = &mut target.context {
        paths.push(path);
    }
    // An absolute path does not lead from the context, and where it leads to may be relative.
    if let Dockerfile::InContext(path) = &target.dockerfile
        && path.is_absolute()
    {
        target.dockerfile = Dockerfile::Path(Some(path.clone()));
    }
    if let Dockerfile::Path(Some(path)) = &mut target.dockerfile {
        paths.push(path);
    }
    for context in target.named_contexts.values_mut() {
        if let NamedContext::Local(path) = context {
            paths.push(path);
        }
    }
    for secret in &mut target.secrets {
        if let SecretOrigin::File(path) = &mut secret.from {
            paths.push(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::Origin;

    fn apply_to(context: &str, maps: &[&str]) -> anyhow::Result<PathBuf> {
        let mut targets = [Target::new("app", Context::Local(context.into()))];
        let value = maps.iter().map(ToString::to_string).collect();
        apply(&mut targets, &Given { value, origin: Origin::Flag("path-map") })?;
        let [Target { context: Context::Local(path), .. }] = targets else { panic!("it is no directory") };
        Ok(path)
    }

    #[test]
    fn the_longest_map_that_fits_counts() {
        let mapped = |context: &str, maps: &[&str]| apply_to(context, maps).expect("sound").display().to_string();
        assert_eq!(mapped("/builds/app/web", &["/builds/app=."]), "./web");
        assert_eq!(mapped("/builds/app", &["/builds/app="]), ".");
        let refused = |context: &str, maps: &[&str]| apply_to(context, maps).expect_err("refused").to_string();
        assert!(refused("/builds/app", &["/builds/app=.", "/builds=.."]).contains("no path of the bake file"));
        assert!(refused("/builds/application", &["/builds/app=."]).contains("below /builds/app"));
        assert!(refused("/builds/app", &["builds=."]).contains("`builds` is not absolute"));
        assert!(refused("/builds/app", &["/builds"]).contains("FROM=TO"));
    }
}
