//! The source on disk, and where the paths of a target lead in it.
//!
//! **Invariant:** a resolved target has only absolute paths to things that exist; with a repository as source none of
//! them leads out of the checkout, not even through a symbolic link.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::git::{Changes, Origins};
use super::modes::Modes;
use crate::failure::{Explain, Failure, Kind};
use crate::scratch::Scratch;
use crate::targets::{Context, Dockerfile, NamedContext, Target};

/// What stands for the commit in a donor's reference.
const REV: &str = "{rev}";

/// The source on disk. What was made for it is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Checkout {
    /// Its root, absolute and without symbolic links; relative contexts are below it.
    pub(crate) root: PathBuf,
    /// The repository without credentials, or the directory; for reports.
    pub(crate) location: String,
    /// The revision asked for.
    pub(crate) rev: Option<String>,
    /// The full id of its commit, when it has one.
    pub(crate) commit: Option<String>,
    /// Why its commit is not known, when it is not; completes "the commit is not known: …".
    pub(super) no_commit: String,
    /// How it differs from the commit, when that is known.
    pub(crate) changes: Option<Changes>,
    /// Whether it is a URL that the builder fetches, of which nothing lies here.
    pub(crate) is_fetched: bool,
    /// Which permission bits BuildKit should see.
    pub(crate) modes: Modes,
    origin: Origin,
    /// Where the clone came from.
    pub(super) origins: Option<Arc<Origins>>,
    /// The clone.
    pub(super) clone: Option<Scratch>,
    /// Inline Dockerfiles, each in a directory of its own.
    inline: Vec<Scratch>,
}

/// What kind of source it is, and so where its paths may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A clone: nothing outside of it is used.
    Repository,
    /// A directory of the person's own: paths may lead anywhere.
    Directory,
}

impl Checkout {
    /// A checkout of which nothing more is known.
    pub(super) fn new(root: PathBuf, origin: Origin, location: String, rev: Option<String>) -> Checkout {
        Checkout {
            root,
            location,
            rev,
            commit: None,
            no_commit: "it is no work tree of git".to_owned(),
            changes: None,
            is_fetched: false,
            modes: Modes::as_on_disk(),
            origin,
            origins: None,
            clone: None,
            inline: Vec::new(),
        }
    }

    /// Targets with every path made absolute: contexts, named contexts and Dockerfiles (inline ones are written to a
    /// temporary directory first, so that each is a [`Dockerfile::Path`] unless it lies in a remote context), and with
    /// the commit in place of `{rev}` in the donors' references. Secrets and sockets stay as they are.
    ///
    /// # Errors
    /// Explained: a context or Dockerfile that does not exist or leads out of the checkout, `{rev}` without a commit.
    pub(crate) fn resolve(&mut self, targets: Vec<Target>) -> anyhow::Result<Vec<Target>> {
        targets.into_iter().map(|target| self.resolve_one(target)).collect()
    }

    fn resolve_one(&mut self, mut target: Target) -> anyhow::Result<Target> {
        let name = target.name.clone();
        let of = |what: &str| format!("could not find {what} of target {name}");
        if let Context::Local(path) = &target.context {
            target.context = Context::Local(self.directory(path, &of("the context"))?);
        }
        for (context, value) in &mut target.named_contexts {
            if let NamedContext::Local(path) = value {
                *value = NamedContext::Local(self.directory(path, &of(&format!("the context `{context}`")))?);
            }
        }
        target.dockerfile = self.dockerfile(&target, &of("the Dockerfile"))?;
        for donor in &mut target.donors {
            if donor.reference.contains(REV) {
                let commit = self.commit.as_deref().ok_or_else(|| {
                    let what = format!(
                        "the cache {} names {REV}, and the commit of {} is not known: {}",
                        donor.reference, self.location, self.no_commit
                    );
                    Failure::new(Kind::Usage, what, "write the tag itself, or name the repository with --repo")
                })?;
                donor.reference = donor.reference.replace(REV, commit);
            }
        }
        Ok(target)
    }

    /// An existing directory.
    fn directory(&self, path: &Path, what: &str) -> anyhow::Result<PathBuf> {
        let joined = self.root.join(path);
        let shown = self.shown(&joined);
        let hint = match path.is_absolute() && self.origin == Origin::Repository {
            true => {
                "it is a path of another machine: say with --path-map FROM=TO where it is in the repository".to_owned()
            }
            false => format!("paths are below {}; correct the path, or the revision", self.location),
        };
        let found = fs::canonicalize(&joined).explain(Kind::Usage, format!("{what}: {shown}"), hint.as_str())?;
        self.ensure_inside(&found, &shown, what)?;
        if !found.is_dir() {
            return Err(Failure::new(Kind::Usage, format!("{what}: {shown} is not a directory"), hint));
        }
        Ok(found)
    }

    fn ensure_inside(&self, found: &Path, shown: &str, what: &str) -> anyhow::Result<()> {
        if self.origin == Origin::Directory || found.starts_with(&self.root) {
            return Ok(());
        }
        let hint = "with --repo all paths are inside of the repository; --path-map FROM=TO says where a directory of another machine is, \
             or clone it yourself and use --context";
        Err(Failure::new(Kind::Usage, format!("{what}: {shown} leads out of the repository"), hint))
    }

    /// The Dockerfile of a target whose context is resolved.
    fn dockerfile(&mut self, target: &Target, what: &str) -> anyhow::Result<Dockerfile> {
        let context = match &target.context {
            Context::Local(context) => Some(context.as_path()),
            Context::Remote(_) => None,
        };
        let candidates: Vec<PathBuf> = match (&target.dockerfile, context) {
            (Dockerfile::Inline(text), _) => return self.write_inline(text),
            (Dockerfile::Path(Some(path)), _) if path.is_absolute() => vec![path.clone()],
            (kept @ (Dockerfile::Path(_) | Dockerfile::InContext(_)), None) => return Ok(kept.clone()),
            // An older spelling that docker takes as well (moby/moby#10858).
            (Dockerfile::Path(None), Some(context)) => vec![context.join("Dockerfile"), context.join("dockerfile")],
            (Dockerfile::InContext(path), Some(context)) => vec![context.join(path)],
            (Dockerfile::Path(Some(path)), Some(context)) => {
                let base = match self.origin {
                    Origin::Repository => self.root.clone(),
                    Origin::Directory => std::env::current_dir().context("the current directory")?,
                };
                vec![base.join(path), context.join(path), self.root.join(path)]
            }
        };
        let Some(found) = candidates.iter().find(|path| path.is_file()) else {
            let mut tried: Vec<String> = candidates.iter().map(|path| self.shown(path)).collect();
            tried.dedup();
            let what = format!("{what}: there is no {}", tried.join(" nor "));
            return Err(Failure::new(
                Kind::Usage,
                what,
                "give the directory of the build, or name the file with -f (`dockerfile` in a bake file)",
            ));
        };
        let shown = self.shown(found);
        let (Some(parent), Some(name)) = (found.parent(), found.file_name()) else {
            return Err(Failure::new(Kind::Usage, format!("{what}: {shown} is no file"), "name it with -f"));
        };
        let parent = fs::canonicalize(parent).with_context(|| shown.clone())?;
        self.ensure_inside(&parent, &shown, what)?;
        Ok(Dockerfile::Path(Some(parent.join(name))))
    }

    fn write_inline(&mut self, text: &str) -> anyhow::Result<Dockerfile> {
        let what = "could not write an inline Dockerfile to a temporary directory";
        let hint = "set TMPDIR to a directory that can be written to";
        let write = || -> anyhow::Result<(Scratch, PathBuf)> {
            let directory = Scratch::new("cachewarm-dockerfile-")?;
            let path = directory.path().join("Dockerfile");
            fs::write(&path, text)?;
            Ok((directory, path))
        };
        let (directory, path) = write().explain(Kind::Environment, what, hint)?;
        self.inline.push(directory);
        Ok(Dockerfile::Path(Some(path)))
    }

    /// A path for people: below the root as they know it, not below a temporary directory.
    fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.root) {
            Ok(below) if self.origin == Origin::Repository && below.as_os_str().is_empty() => ".".to_owned(),
            Ok(below) if self.origin == Origin::Repository => below.display().to_string(),
            _ => path.display().to_string(),
        }
    }
}
