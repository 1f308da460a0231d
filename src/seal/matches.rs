//! From what was found in files to what can be done about it: what holds the file decides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::erase::{Located, Root};
use super::finding::{Action, Finding};
use super::needles::{Found, Shapes};
use super::search::{Hit, Place, Searched};
use crate::inspect::{Record, RecordType, StateRoot};
use crate::report::seal::FindingKind;

/// What BuildKit calls the repository that all git sources of an address share.
const GIT_REPOSITORY: &str = "shared git repo for ";

/// The files of a state root, in parts that are treated each in its own way.
#[derive(Debug)]
pub(super) struct Parts {
    root: PathBuf,
    /// What holds each snapshot's directory.
    holders: HashMap<PathBuf, Holder>,
    /// Blobs whose content is looked through as files of a snapshot.
    unpacked: HashSet<PathBuf>,
    databases: HashSet<PathBuf>,
}

#[derive(Debug)]
struct Holder {
    id: String,
    description: String,
    /// Where its files are.
    files: PathBuf,
    /// Whether a build does without it, making it anew when it needs it.
    is_spare: bool,
    is_git_repository: bool,
    /// Its directory, as it was when it was looked at; none when it is not there.
    located: Option<Located>,
}

impl Parts {
    /// Sorts the files of the root that `state` was read from.
    ///
    /// # Errors
    /// When a snapshot's directory cannot be looked at.
    pub(super) fn of(path: &Path, root: &Root, state: &StateRoot, databases: &[PathBuf]) -> io::Result<Parts> {
        let mut parts = Parts {
            root: path.to_owned(),
            holders: HashMap::new(),
            unpacked: HashSet::new(),
            databases: databases.iter().cloned().collect(),
        };
        for worker in &state.workers {
            let mut records: Vec<&Record> = worker.records.values().collect();
            records.sort_by(|a, b| a.id.cmp(&b.id));
            for record in records {
                let Some(number) = record.snapshot_number.filter(|_| record.equal_mutable.is_none()) else { continue };
                // A step's description is what it runs, which may be any text.
                let is_git_repository = record.is_mutable() && record.description.starts_with(GIT_REPOSITORY);
                let is_spare = is_git_repository
                    || matches!(
                        record.record_type,
                        RecordType::CacheMount | RecordType::LocalSource | RecordType::GitCheckout
                    );
                let holder = Holder {
                    files: worker.files_of(number),
                    id: record.id.clone(),
                    description: record.description.clone(),
                    is_spare,
                    is_git_repository,
                    located: if is_spare { root.locate(&worker.snapshot_directory(number))? } else { None },
                };
                parts.holders.insert(worker.snapshot_directory(number), holder);
                if record.class.is_extracted() {
                    parts.unpacked.extend(record.blob.as_deref().and_then(|blob| worker.blob_path(blob)));
                }
            }
        }
        Ok(parts)
    }

    /// The directories of layers: their files, as they were unpacked.
    pub(super) fn layers(&self) -> Vec<Place<'_>> {
        self.snapshots(|holder| !holder.is_spare)
    }

    /// The directories of the files that BuildKit makes anew when it needs them.
    pub(super) fn spare(&self) -> Vec<Place<'_>> {
        self.snapshots(|holder| holder.is_spare)
    }

    fn snapshots(&self, is_meant: impl Fn(&Holder) -> bool) -> Vec<Place<'_>> {
        let meant = self.holders.iter().filter(|(_, holder)| is_meant(holder));
        let start = |path: &PathBuf| path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        meant.map(|(path, _)| Place { path: &self.root, start: start(path), shapes: &|_| Shapes::No }).collect()
    }

    /// Everything else, and the configurations of git repositories.
    pub(super) fn rest(&self) -> Vec<Place<'_>> {
        let repositories = self.holders.values().filter(|holder| holder.is_git_repository);
        let configurations = repositories.map(|holder| {
            let file = holder.files.join("config");
            file.strip_prefix(&self.root).map(Path::to_owned).unwrap_or(file)
        });
        let place = |start| Place { path: &self.root, start, shapes: &|_| Shapes::Addresses };
        [PathBuf::new()].into_iter().chain(configurations).map(place).collect()
    }

    /// What `rest` is not to go into.
    pub(super) fn left_out_of_rest(&self) -> HashSet<PathBuf> {
        self.holders.keys().chain(&self.unpacked).cloned().collect()
    }

    fn holder(&self, file: &Path) -> Option<(&PathBuf, &Holder)> {
        file.ancestors().find_map(|directory| self.holders.get_key_value(directory))
    }
}

/// What is to be done about everything that was found, but for what is cleaned along with one of `known`. In a database it
/// counts once what that does not use was zeroed; until then it is one of `known` itself.
pub(super) fn findings(searched: &Searched, parts: &Parts, known: &[Finding]) -> Vec<Finding> {
    let mut by_file: BTreeMap<&Path, Vec<&Found>> = BTreeMap::new();
    for Hit { path, found } in &searched.hits {
        by_file.entry(path).or_default().push(found);
    }
    let mut findings: Vec<Finding> = by_file
        .into_iter()
        .filter(|(file, _)| {
            let below = file.strip_prefix(&parts.root);
            !below.is_ok_and(|below| known.iter().any(|finding| finding.covers(below)))
        })
        .map(|(file, found)| Finding::new(FindingKind::Secret, file.display(), named(&found), action(file, parts)))
        .collect();
    findings.extend(searched.unread.iter().map(|(path, why)| {
        let action = Action::Ask("run as root, and look at the disk".to_owned());
        Finding::new(FindingKind::Unread, path.display(), why, action)
    }));
    findings
}

fn named(found: &[&Found]) -> String {
    let names = found.iter().map(|found| match found {
        Found::Known(name, how) => format!("{name}, {how}"),
        Found::Shaped(shape) => format!("looks like a {shape}"),
    });
    names.collect::<Vec<_>>().join("; ")
}

fn action(file: &Path, parts: &Parts) -> Action {
    if let Some((_, holder)) = parts.holder(file) {
        return match &holder.located {
            Some(located) => Action::Forget(holder.id.clone(), Some(located.clone())),
            None => Action::Ask(format!(
                "the layer of `{}` has it: give it to the step with --mount=type=secret, and warm an empty root",
                holder.description
            )),
        };
    }
    if parts.databases.contains(file) {
        return Action::Ask(
            "BuildKit remembers it with a step or a source: take it out of the Dockerfile and of URLs, and warm an empty root"
                .to_owned(),
        );
    }
    if file.starts_with(&parts.root) {
        return Action::Ask("BuildKit keeps it: warm an empty root without it, and leave no history of it".to_owned());
    }
    Action::Ask(format!(
        "remove it from the machine (and from what writes it), or accept it with --ignore {}",
        file.display()
    ))
}
