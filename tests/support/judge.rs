//! The independent judge: BuildKit itself builds, on a copy of a root, with every layer out of reach.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::builder::Built;
use super::ground::{CACHE, mirror_config};
use super::registry::made;
use super::{Builder, Fault, Faults, World, ground};

/// What a build on the copy had to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The steps that were executed, by what stands in brackets: `test 1/2`.
    pub(crate) ran: Vec<String>,
    /// Status messages of blobs being fetched.
    pub(crate) fetched: Vec<String>,
    /// Status messages of layers being unpacked.
    pub(crate) extracted: Vec<String>,
}

impl Judged {
    /// Only these steps were executed, and nothing was fetched or unpacked.
    pub(crate) fn ran_only(&self, steps: &[&str]) {
        let expected =
            Judged { ran: steps.iter().map(ToString::to_string).collect(), fetched: Vec::new(), extracted: Vec::new() };
        assert_eq!(*self, expected);
    }

    fn of(built: &Built) -> Judged {
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
        let executed = steps.into_values().filter(|(_, cached)| !cached).filter_map(|(name, _)| step(&name));
        let mut ran: Vec<_> = executed.collect();
        ran.sort();
        Judged { ran, fetched, extracted }
    }
}

/// What stands in the brackets of a step's name; none for what is no step of a Dockerfile line that runs.
pub(crate) fn step(name: &str) -> Option<String> {
    let (place, line) = name.strip_prefix('[')?.split_once("] ")?;
    (place != "internal" && !line.starts_with("FROM ")).then(|| place.to_owned())
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
        let copy = folder.path().join("root");
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).args([root, &copy]).status();
        assert!(copied.unwrap().success(), "{} could not be copied", root.display());
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
        let builder = Builder::start(&made(folder.path().join("daemon")), &copy, &config);
        let built = builder.build(&context, &[]);
        if built.0.status.success() { Ok(Judged::of(&built)) } else { Err(built.text()) }
    }
}

/// Appends a line to a file of the context.
pub(crate) fn changed(file: &str) -> impl FnOnce(&Path) {
    move |context| {
        let path = context.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + "# changed\n").unwrap();
    }
}
