//! From what was found in files to what can be done about it: what holds the file decides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::finding::{Cure, Finding};
use super::needles::{Found, Shapes};
use super::places::Machine;
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
}

impl Parts {
    /// Of a root.
    pub(super) fn of(root: &Path, state: &StateRoot, databases: &[PathBuf]) -> Parts {
        let mut parts = Parts {
            root: root.to_owned(),
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
                };
                parts.holders.insert(worker.snapshot_directory(number), holder);
                if record.class.is_extracted() {
                    parts.unpacked.extend(record.blob.as_deref().and_then(|blob| worker.blob_path(blob)));
                }
            }
        }
        parts
    }

    /// Where layers are: their files, as they were unpacked.
    pub(super) fn layers(&self) -> Vec<Place> {
        self.snapshots(|holder| !holder.is_spare)
    }

    /// Where the files are that BuildKit makes anew when it needs them.
    pub(super) fn spare(&self) -> Vec<Place> {
        self.snapshots(|holder| holder.is_spare)
    }

    fn snapshots(&self, is_meant: impl Fn(&Holder) -> bool) -> Vec<Place> {
        let meant = self.holders.iter().filter(|(_, holder)| is_meant(holder));
        meant.map(|(path, _)| Place { path: path.clone(), shapes: Shapes::No }).collect()
    }

    /// Everything else.
    pub(super) fn rest(&self) -> Vec<Place> {
        let configurations = self.holders.iter().filter(|(_, holder)| holder.is_git_repository);
        let configurations =
            configurations.map(|(_, holder)| Place { path: holder.files.join("config"), shapes: Shapes::Addresses });
        [Place { path: self.root.clone(), shapes: Shapes::Addresses }].into_iter().chain(configurations).collect()
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
pub(super) fn findings(
    searched: &Searched,
    parts: &Parts,
    machine: Option<&Machine>,
    known: &[Finding],
) -> Vec<Finding> {
    let mut by_file: BTreeMap<&Path, Vec<&Found>> = BTreeMap::new();
    for Hit { path, found } in &searched.hits {
        by_file.entry(path).or_default().push(found);
    }
    let mut findings: Vec<Finding> = by_file
        .into_iter()
        .filter(|(file, _)| !known.iter().any(|finding| finding.covers(file)))
        .map(|(file, found)| Finding {
            kind: FindingKind::Secret,
            place: file.display().to_string(),
            what: named(&found),
            cure: cure(file, parts, machine),
        })
        .collect();
    findings.extend(searched.unread.iter().map(|(path, why)| Finding {
        kind: FindingKind::Unread,
        place: path.display().to_string(),
        what: why.clone(),
        cure: Cure::Ask("run as root, and look at the disk".to_owned()),
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

fn cure(file: &Path, parts: &Parts, machine: Option<&Machine>) -> Cure {
    if let Some((directory, holder)) = parts.holder(file) {
        return match holder.is_spare {
            true => Cure::Forget(holder.id.clone(), Some(directory.clone())),
            false => Cure::Ask(format!(
                "the layer of `{}` has it: give it to the step with --mount=type=secret, and warm an empty root",
                holder.description
            )),
        };
    }
    if parts.databases.contains(file) {
        return Cure::Ask(
            "BuildKit remembers it with a step or a source: take it out of the Dockerfile and of URLs, and warm an empty root"
                .to_owned(),
        );
    }
    if file.starts_with(&parts.root) {
        return Cure::Ask("BuildKit keeps it: warm an empty root without it, and leave no history of it".to_owned());
    }
    match machine {
        Some(machine) if machine.is_in_use(file) => {
            Cure::Ask("whoever called this has it open: write no secrets into such a file".to_owned())
        }
        // A directory or a link, by its name.
        _ if !file.is_file() => Cure::Ask(format!("rename it, or name it with --ignore {}", file.display())),
        Some(machine) if machine.is_log(file) => Cure::Blank(file.to_owned()),
        Some(machine) if machine.is_temporary(file) => Cure::Erase(file.to_owned()),
        _ => Cure::Ask(format!("remove it, or name it with --ignore {}", file.display())),
    }
}
