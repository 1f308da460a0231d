//! Git repositories: cloning one at a revision, and asking a work tree for its commit and what it tracks. The only user of
//! git2.
//!
//! **Invariant:** no credential is written to disk or named in a message: the remote is anonymous, its URL is stripped
//! first (`address`), and credentials are answered from memory (`credentials`). Everything here blocks; [`Watch`] is how
//! another thread stops it and sees that it moves.

mod address;
mod credentials;
mod explain;
mod head;
mod lfs;
mod over_ssh;
mod pointer;
mod program;
mod submodules;
mod work_tree;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use git2::build::CheckoutBuilder;
use git2::{
    AutotagOption, Commit, Direction, FetchOptions, ObjectType, Oid, ProxyOptions, RemoteCallbacks, Repository,
    RepositoryInitOptions,
};

use self::address::Address;
use self::credentials::{Keys, Tried};
use self::over_ssh::OverSsh;
use super::modes::Recorded;
use crate::auth::Secret;
use crate::failure::{Explain, Kind};

pub(super) use self::head::locate;
pub(super) use self::lfs::{Origins, named};
pub(crate) use self::pointer::POINTER_SIZES;
pub(super) use self::pointer::pointers;
pub(crate) use self::work_tree::Changes;
pub(super) use self::work_tree::{changes, tracked};

/// Where the wanted commit is kept, so that nothing looks like a branch of ours.
const WANTED: &str = "refs/cachewarm/wanted";

/// Everything a short commit id could be on, and everything a server lets anybody have.
const EVERYTHING: [&str; 2] = ["+refs/heads/*:refs/cachewarm/heads/*", "+refs/tags/*:refs/cachewarm/tags/*"];

/// How another thread stops a clone, and sees that it moves.
#[derive(Debug, Default)]
pub(super) struct Watch {
    stopped: AtomicBool,
    moves: AtomicU64,
}

impl Watch {
    /// Asks whoever is cloning to stop at the next opportunity.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// A number that changes as long as anything arrives.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Notes that something arrived, and says whether to go on.
    fn moved(&self) -> bool {
        self.moves.fetch_add(1, Ordering::Relaxed);
        !self.is_stopped()
    }
}

/// What was cloned.
#[derive(Debug)]
pub(super) struct Cloned {
    /// The full id of the commit that was checked out.
    pub(super) commit: String,
    /// What it tracks, submodules included.
    pub(super) recorded: Recorded,
    /// Whether only that commit was fetched, without its history.
    pub(super) shallow: bool,
    /// Where it came from.
    pub(super) origins: Origins,
}

/// The address of a repository without anything secret.
pub(super) fn shown(url: &str) -> String {
    Address::new(url).shown().to_owned()
}

/// Clones a repository into `directory`, which exists and is empty, and checks out `rev` (the remote's HEAD when absent).
///
/// # Errors
/// Explained: unreachable, not found, credentials needed or refused, untrusted certificate, unknown revision.
pub(super) fn clone(
    url: &str,
    rev: Option<&str>,
    with_submodules: bool,
    token: Option<&Secret>,
    directory: &Path,
    watch: &Watch,
) -> anyhow::Result<Cloned> {
    let address = Address::new(url);
    let keys = Keys::new(&address, token);
    let client = Client { keys, watch };
    let mut options = RepositoryInitOptions::new();
    options.external_template(false);
    let repository = Repository::init_opts(directory, &options)
        .map_err(|error| explain::not_written(error, directory.display().to_string()))?;
    let commit = client.fetch(&repository, &address, &Wanted::of(rev))?;
    client.check_out(&repository, &commit, directory)?;
    let mut laid = Laid { recorded: Recorded::default(), trees: vec![(directory.to_owned(), address.clone())] };
    work_tree::record(&repository, b"", &mut laid.recorded)?;
    if with_submodules {
        submodules::clone(&client, &address, &repository, &commit, directory, &mut laid)?;
    }
    let Laid { recorded, trees } = laid;
    let (commit, shallow) = (commit.id().to_string(), repository.is_shallow());
    Ok(Cloned { commit, recorded, shallow, origins: Origins { trees, keys: client.keys.clone() } })
}

/// What was laid out so far.
struct Laid {
    recorded: Recorded,
    /// The root of each work tree, and its address.
    trees: Vec<(PathBuf, Address)>,
}

/// A reference the remote has: its name and what it points to.
type Head = (String, Oid);

/// Which commit.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// The remote's HEAD.
    Head,
    /// A full commit id.
    Commit(Oid),
    /// A branch, a tag, a full name of a reference or a short commit id.
    Named(String),
}

impl Wanted {
    fn of(rev: Option<&str>) -> Wanted {
        match rev {
            None | Some("HEAD") => Wanted::Head,
            Some(rev) => match full_id(rev) {
                Some(id) => Wanted::Commit(id),
                None => Wanted::Named(rev.to_owned()),
            },
        }
    }
}

fn full_id(text: &str) -> Option<Oid> {
    Oid::from_str(text).ok().filter(|_| text.len() == 40)
}

/// Speaks to remotes with the keys of one repository.
struct Client<'a> {
    keys: Keys,
    watch: &'a Watch,
}

impl Client<'_> {
    /// Fetches as little as the server allows, and gives the commit.
    fn fetch<'r>(&self, repository: &'r Repository, address: &Address, wanted: &Wanted) -> anyhow::Result<Commit<'r>> {
        let tried = RefCell::new(Tried::default());
        let explain = |error: git2::Error| explain::explained(&error, address, &tried.borrow().shown);
        let mut remote = repository.remote_anonymous(&address.remote).map_err(explain)?;
        if let Some(program) = OverSsh::new(repository, address, remote.url().unwrap_or_default(), self.watch) {
            let heads = program.heads()?;
            return self.bring(repository, address, wanted, &heads, |wanted, depth| program.fetch(wanted, depth));
        }
        let callbacks = self.callbacks(&tried);
        let mut connection = remote.connect_auth(Direction::Fetch, Some(callbacks), Some(proxy())).map_err(explain)?;
        let heads = connection.list().map_err(explain)?.iter().map(|head| (head.name().to_owned(), head.oid()));
        let heads: Vec<Head> = heads.collect();

        self.bring(repository, address, wanted, &heads, |wanted, depth| {
            let mut options = FetchOptions::new();
            options.remote_callbacks(self.callbacks(&tried)).proxy_options(proxy());
            options.update_fetchhead(false).download_tags(AutotagOption::None).depth(depth);
            connection.remote().fetch(wanted, Some(&mut options), None).map_err(explain)?;
            self.keys.let_in(&tried.borrow());
            Ok(())
        })
    }

    /// Has `fetch` fetch refspecs at a depth, in the order of the plan, until the commit is there.
    fn bring<'r>(
        &self,
        repository: &'r Repository,
        address: &Address,
        wanted: &Wanted,
        heads: &[Head],
        mut fetch: impl FnMut(&[String], i32) -> anyhow::Result<()>,
    ) -> anyhow::Result<Commit<'r>> {
        let plan = plan(wanted, heads, address)?;
        for specifications in &plan {
            let whole = specifications.len() > 1;
            // libgit2 cannot fetch shallowly from a directory.
            let depths: &[i32] = if whole || address.is_local() { &[0] } else { &[1, 0] };
            for &depth in depths {
                let last = depth == 0 && plan.last() == Some(specifications);
                match fetch(specifications, depth) {
                    Ok(()) => match found(repository, wanted) {
                        Some(commit) => return Ok(commit),
                        None if last => return Err(unknown(wanted, heads, address)),
                        None => {}
                    },
                    // A server may refuse a depth or a bare commit id; what is left is to fetch more.
                    Err(error) if last || !self.watch.moved() => return Err(error),
                    Err(error) => {
                        tracing::debug!(error = format!("{error:#}"), depth, "the server refused, asking for more")
                    }
                }
            }
        }
        Err(unknown(wanted, heads, address))
    }

    fn callbacks<'c>(&'c self, tried: &'c RefCell<Tried>) -> RemoteCallbacks<'c> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(move |url, user, allowed| self.keys.answer(url, user, allowed, tried));
        callbacks.transfer_progress(|_| self.watch.moved());
        callbacks.sideband_progress(|_| self.watch.moved());
        callbacks
    }

    /// Puts the files of a commit below `directory`.
    fn check_out(&self, repository: &Repository, commit: &Commit<'_>, directory: &Path) -> anyhow::Result<()> {
        let mut options = CheckoutBuilder::new();
        options.force().target_dir(directory);
        options.progress(|_, _, _| {
            self.watch.moved();
        });
        let written = repository.checkout_tree(commit.as_object(), Some(&mut options));
        let written = written.and_then(|()| repository.set_head_detached(commit.id()));
        written.map_err(|error| explain::not_written(error, commit.id().to_string()))
    }
}

fn proxy() -> ProxyOptions<'static> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    proxy
}

/// What to ask the server for, in order: each a list of refspecs, tried until one of them brings the commit.
fn plan(wanted: &Wanted, heads: &[Head], address: &Address) -> anyhow::Result<Vec<Vec<String>>> {
    let one = |source: &str| vec![format!("+{source}:{WANTED}")];
    let everything = || EVERYTHING.map(str::to_owned).to_vec();
    let has = |name: &str| heads.iter().any(|(known, _)| known == name);
    match wanted {
        Wanted::Head if has("HEAD") => Ok(vec![one("HEAD")]),
        Wanted::Head => Err(anyhow::anyhow!("it has no HEAD")).explain(
            Kind::Environment,
            format!("{} has no commit to begin with", address.shown()),
            "name a branch, a tag or a commit with --rev",
        ),
        Wanted::Commit(id) => {
            // Not every server gives a bare commit, but each gives what a name of its own points to.
            let named = heads.iter().find(|(_, tip)| tip == id);
            let source = named.map(|(name, _)| name.strip_suffix("^{}").unwrap_or(name).to_owned());
            Ok(vec![one(&source.unwrap_or_else(|| id.to_string())), everything()])
        }
        Wanted::Named(rev) => {
            // A branch wins over a tag of the same name, as with `git clone --branch`.
            let spellings = [format!("refs/heads/{rev}"), format!("refs/tags/{rev}"), rev.clone()];
            if let Some(name) = spellings.iter().find(|name| name.starts_with("refs/") && has(name)) {
                return Ok(vec![one(name)]);
            }
            if rev.len() >= 4 && rev.len() < 40 && rev.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(vec![everything()]);
            }
            Err(unknown(wanted, heads, address))
        }
    }
}

/// The wanted commit, if it has arrived.
fn found<'r>(repository: &'r Repository, wanted: &Wanted) -> Option<Commit<'r>> {
    match wanted {
        Wanted::Commit(id) => repository.find_object(*id, None).ok()?.peel_to_commit().ok(),
        _ => match repository.find_reference(WANTED) {
            Ok(reference) => reference.peel_to_commit().ok(),
            // Only a short id is looked for without a reference; an ambiguous one is as good as none.
            Err(_) => match wanted {
                Wanted::Named(short) => {
                    repository.revparse_single(short).ok()?.peel(ObjectType::Commit).ok()?.into_commit().ok()
                }
                _ => None,
            },
        },
    }
}

fn unknown(wanted: &Wanted, heads: &[Head], address: &Address) -> anyhow::Error {
    let short = |(name, _): &Head| {
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"))?;
        (!name.ends_with("^{}")).then(|| name.to_owned())
    };
    let known: Vec<String> = heads.iter().filter_map(short).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let rev = match wanted {
        Wanted::Head => "HEAD".to_owned(),
        Wanted::Commit(id) => id.to_string(),
        Wanted::Named(name) => name.clone(),
    };
    explain::unknown_revision(&rev, address, &known)
}
