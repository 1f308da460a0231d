//! The independent judge: BuildKit itself builds, on a copy of a root, with every layer out of reach.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::builder::Built;
use super::ground::{CACHE, mirror_config, tool};
use super::registry::made;
use super::{Fault, Faults, World, ground};

/// What a build on the copy had to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The steps that were executed, by what stands in brackets: `test 1/2`.
    pub(crate) ran: Vec<String>,
    /// The same by their whole names.
    pub(crate) ran_by_name: Vec<String>,
    /// Status messages of blobs being fetched.
    pub(crate) fetched: Vec<String>,
    /// Status messages of layers being unpacked.
    pub(crate) extracted: Vec<String>,
}

impl Judged {
    /// Only these steps were executed, and nothing was fetched or unpacked.
    pub(crate) fn ran_only(&self, steps: &[&str]) {
        let moved = (self.fetched.clone(), self.extracted.clone());
        assert_eq!((&self.ran, moved), (&steps.iter().map(ToString::to_string).collect(), (Vec::new(), Vec::new())));
    }

    /// What a build printed that it did.
    pub(crate) fn of(built: &Built) -> Judged {
        let mut steps: BTreeMap<String, (String, bool)> = BTreeMap::new();
        let (mut fetched, mut extracted) = (Vec::new(), Vec::new());
        for message in built.messages() {
            for vertex in message["vertexes"].as_array().into_iter().flatten() {
                let name = vertex["name"].as_str().unwrap_or_default();
                let digest = vertex["digest"].as_str().unwrap_or_default().to_owned();
                let step = steps.entry(digest).or_insert((name.to_owned(), false));
                step.1 |= vertex["cached"].as_bool().unwrap_or_default();
            }
            for status in message["statuses"].as_array().into_iter().flatten() {
                let id = status["id"].as_str().unwrap_or_default();
                if id.starts_with("sha256:") {
                    fetched.push(id.to_owned());
                } else if id.starts_with("extracting") {
                    extracted.push(id.to_owned());
                }
            }
        }
        let executed = steps.into_values().filter(|(name, cached)| !cached && step(name).is_some());
        let ran_by_name: Vec<String> = executed.map(|(name, _)| name).collect();
        let mut ran: Vec<String> = ran_by_name.iter().filter_map(|name| step(name)).collect();
        ran.sort();
        Judged { ran, ran_by_name, fetched, extracted }
    }
}

/// What stands in the brackets of a step's name; none for what is no step of a Dockerfile line that runs.
pub(crate) fn step(name: &str) -> Option<String> {
    let (place, line) = name.strip_prefix('[')?.split_once("] ")?;
    // What has no count, `[internal]` or `[context NAME]`, is no line of a Dockerfile.
    let is_line = place.rsplit(' ').next().is_some_and(|count| count.contains('/'));
    (is_line && !line.starts_with("FROM ")).then(|| place.to_owned())
}

impl World {
    /// Builds the sample, after `edit`, on a copy of `root`: the names in it still resolve, and nothing else
    /// of any registry can be had. Panics when that build fails.
    pub(crate) fn judged(&self, root: &Path, edit: impl FnOnce(&Path)) -> Judged {
        self.try_judged(root, edit).unwrap_or_else(|text| panic!("the judge's build failed: {text}"))
    }

    /// As [`World::judged`]; a build that fails is an error with what it printed.
    pub(crate) fn try_judged(&self, root: &Path, edit: impl FnOnce(&Path)) -> Result<Judged, String> {
        let folder = tempfile::Builder::new().prefix("judge").tempdir_in(self.folder()).unwrap();
        let copy = copied(root, folder.path());
        let context = folder.path().join("context");
        super::git::sample(&context);
        edit(&context);

        let names_only = Faults::before(ground().registry.address());
        for (repository, tag) in [("library/busybox", "1.35"), ("docker/dockerfile", "1")] {
            for (layer, _) in ground().registry.layers(repository, tag) {
                names_only.always(&layer, Fault::status(404));
            }
        }
        names_only.always(&format!("/v2/{}/", CACHE.0), Fault::status(404));
        let config = mirror_config(folder.path(), names_only.address());
        let builder = self.daemon(&made(folder.path().join("daemon")), &copy, &config);
        let built = builder.build(&context, &[]);
        if built.0.status.success() { Ok(Judged::of(&built)) } else { Err(built.text()) }
    }
}

impl World {
    /// Has buildx build `context` on a copy of `root`, with these flags, and `configure` in the daemon's configuration.
    /// Panics when the build fails.
    pub(crate) fn judged_by_buildx(&self, root: &Path, context: &Path, flags: &[&str], configure: &str) -> Judged {
        Judged::of(&self.built_by_buildx(root, context, flags, configure).succeeded())
    }

    /// The same build, whatever became of it.
    pub(crate) fn built_by_buildx(&self, root: &Path, context: &Path, flags: &[&str], configure: &str) -> Built {
        let folder = tempfile::Builder::new().prefix("judge").tempdir_in(self.folder()).unwrap();
        let copy = copied(root, folder.path());
        let config = mirror_config(folder.path(), ground().registry.address());
        fs::write(&config, fs::read_to_string(&config).unwrap() + configure).unwrap();
        let builder = self.daemon(&made(folder.path().join("daemon")), &copy, &config);
        let buildx = |arguments: &[&str]| {
            let mut buildx = Command::new(tool("BUILDX"));
            buildx.env("BUILDX_CONFIG", folder.path().join("buildx")).env("DOCKER_CONFIG", folder.path());
            // What the surroundings say to us they say to buildx.
            buildx.envs(self.environment());
            buildx.args(arguments).current_dir(self.folder()).output().unwrap()
        };
        let made = buildx(&["create", "--name=judge", "--driver=remote", &builder.address()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut arguments = vec!["build", "--builder=judge", "--progress=rawjson", "--provenance=false"];
        arguments.extend(flags);
        arguments.push(context.to_str().unwrap());
        Built(buildx(&arguments))
    }
}

/// A copy of a root in a folder. A daemon that runs on the root may remove a file while it is copied: then it is copied anew.
pub(crate) fn copied(root: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("root");
    for _ in 0..5 {
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).args([root, &copy]).status();
        if copied.unwrap().success() {
            return copy;
        }
        fs::remove_dir_all(&copy).unwrap();
    }
    panic!("{} could not be copied", root.display());
}

/// Appends a line to a file of the context.
pub(crate) fn changed(file: &str) -> impl FnOnce(&Path) {
    move |context| {
        let path = context.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + "# changed\n").unwrap();
    }
}
