//! What makes the cache key of an operation, in words, so that two builds can be compared.
//!
//! What BuildKit leaves out of its keys is left out here: the addresses of extra hosts, proxy variables, where an image
//! name is resolved, ids of cache mounts that are not the default ones. Source: `CacheMap` of `solver/llbsolver/ops` of
//! BuildKit v0.32; the format is that of `solver/pb/ops.proto`.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb;

use crate::buildkit::session::Selection;
use crate::digest;
use crate::sensitive::login;

/// How the shell form of a command begins.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Attributes of sources that change no key, or differ in every run.
const NOT_IN_KEY: [&str; 6] =
    ["image.resolvemode", "image.recordtype", "local.session", "local.unique", "local.sharedkeyhint", "local.differ"];

/// What makes the cache key of an operation, apart from the keys of its inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Key {
    /// By what each is called: `command`, `env PATH`, `mount /src`, `copy 1 source`.
    pub(crate) fields: BTreeMap<String, String>,
    /// Per input, the paths in it whose content counts; none where the whole result counts, as for a base.
    pub(crate) reads: Vec<Vec<String>>,
}

/// The address that every build asks about a source, also one that has it: a file without a checksum, and a git reference that
/// is no commit (`source/http/source.go` and `source/git/source.go` of BuildKit).
pub(super) fn asked_every_time(op: &pb::Op) -> Option<String> {
    let Some(pb::op::Op::Source(source)) = &op.op else { return None };
    let (scheme, rest) = source.identifier.split_once("://")?;
    let is_asked = match scheme {
        "http" | "https" => !source.attrs.contains_key("http.checksum"),
        "git" => {
            let reference = rest.split_once('#').map_or("", |(_, fragment)| fragment);
            let reference = reference.split(':').next().unwrap_or_default();
            !(matches!(reference.len(), 40 | 64) && reference.bytes().all(|byte| byte.is_ascii_hexdigit()))
        }
        _ => false,
    };
    // A git source's identifier says git:// whatever the address is, and never a login.
    let url = source.attrs.get("git.fullurl").filter(|url| login(url).is_none());
    let address = match (url, rest.split_once('#')) {
        (Some(url), Some((_, fragment))) => format!("{url}#{fragment}"),
        (Some(url), None) => url.clone(),
        (None, _) => source.identifier.clone(),
    };
    is_asked.then_some(address)
}

/// A directory of ours as a build sees it: its name (`context`, or that of a named context), and which files of it.
pub(super) fn directory(op: &pb::Op) -> Option<(String, Selection)> {
    let Some(pb::op::Op::Source(source)) = &op.op else { return None };
    let name = source.identifier.strip_prefix("local://")?;
    let list = |attribute: &str| serde_json::from_str(source.attrs.get(attribute)?).ok();
    let selection = Selection {
        include: list("local.includepattern"),
        exclude: list("local.excludepatterns"),
        follow: list("local.followpaths"),
    };
    Some((name.to_owned(), selection))
}

/// The patterns of a step's copies under a name, `include` or `exclude`, with blanks between them, from the fields of its key;
/// none when they have none.
pub(crate) fn of_copies(fields: &BTreeMap<String, String>, what: &str) -> Option<String> {
    let is_meant =
        |name: &str| name.strip_prefix("copy ").and_then(|rest| rest.split_once(' ')).is_some_and(|it| it.1 == what);
    let patterns: Vec<&str> =
        fields.iter().filter(|(name, _)| is_meant(name)).map(|(_, value)| value.as_str()).collect();
    (!patterns.is_empty()).then(|| patterns.join(" "))
}

impl Key {
    /// Of an operation.
    pub(super) fn of(op: &pb::Op) -> Key {
        let mut key = Key { fields: BTreeMap::new(), reads: vec![Vec::new(); op.inputs.len()] };
        match &op.op {
            Some(pb::op::Op::Exec(exec)) => key.add_exec(exec),
            Some(pb::op::Op::File(file)) => {
                for (number, action) in (1..).zip(&file.actions) {
                    key.add_file_action(number, action);
                }
            }
            Some(pb::op::Op::Source(source)) => key.add_source(source),
            _ => {}
        }
        // What is copied is the same on every platform.
        if let (Some(platform), Some(pb::op::Op::Exec(_) | pb::op::Op::Source(_))) = (&op.platform, &op.op) {
            let parts = [&platform.os, &platform.architecture, &platform.variant];
            let parts: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            key.add("platform", parts.join("/"));
        }
        key
    }

    fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.fields.insert(name.into(), value);
        }
    }

    /// Notes that the content of a path of an input counts. What is no input is the result of an earlier action.
    fn read(&mut self, input: i64, path: &str) {
        let paths = usize::try_from(input).ok().and_then(|index| self.reads.get_mut(index));
        let path = if path.is_empty() { "/" } else { path };
        if let Some(paths) = paths.filter(|paths| !paths.iter().any(|known| known == path)) {
            paths.push(path.to_owned());
        }
    }

    fn add_exec(&mut self, exec: &pb::ExecOp) {
        if let Some(meta) = &exec.meta {
            match meta.args.as_slice() {
                [shell, flag, command] if [shell.as_str(), flag.as_str()] == SHELL => self.add("command", command),
                args => self.add("command", serde_json::to_string(args).unwrap_or_default()),
            }
            for variable in &meta.env {
                let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                // One that is empty is not one that is absent.
                self.fields.insert(format!("env {name}"), value.to_owned());
            }
            self.add("workdir", &meta.cwd);
            self.add("user", &meta.user);
            self.add("hostname", &meta.hostname);
            self.add("cgroup-parent", &meta.cgroup_parent);
            for host in &meta.extra_hosts {
                self.add(format!("host {}", host.host), "set");
            }
            for limit in &meta.ulimit {
                self.add(format!("ulimit {}", limit.name), format!("{}:{}", limit.soft, limit.hard));
            }
            if !meta.valid_exit_codes.is_empty() {
                self.add("valid exit codes", format!("{:?}", meta.valid_exit_codes));
            }
        }
        self.add("network", if exec.network == 0 { "" } else { exec.network().as_str_name() }.to_lowercase());
        self.add("security", if exec.security == 0 { "" } else { exec.security().as_str_name() }.to_lowercase());
        for secret in &exec.secretenv {
            self.add(format!("secret env {}", secret.name), with_flag(format!("id={}", secret.id), secret.optional));
        }
        for device in &exec.cdi_devices {
            self.add(format!("device {}", device.name), with_flag("required=true".to_owned(), device.optional));
        }
        for mount in &exec.mounts {
            let base = mount.dest == "/" && mount.mount_type == pb::MountType::Bind as i32;
            if !base {
                self.add(format!("mount {}", mount.dest), mount_words(mount));
                if mount.mount_type == pb::MountType::Bind as i32 {
                    self.read(mount.input, &mount.selector);
                }
            } else if mount.readonly {
                self.add("root file system", "readonly");
            }
        }
    }

    fn add_file_action(&mut self, number: usize, action: &pb::FileAction) {
        use pb::file_action::Action;
        match &action.action {
            Some(Action::Copy(copy)) => {
                let mut add = |what: &str, value: String| self.add(format!("copy {number} {what}"), value);
                add("source", copy.src.clone());
                add("destination", copy.dest.clone());
                add("owner", owner_words(copy.owner.as_ref()));
                let mode = if copy.mode_str.is_empty() { mode_words(copy.mode) } else { copy.mode_str.clone() };
                add("mode", mode);
                add("timestamp", timestamp_words(copy.timestamp));
                add("include", copy.include_patterns.join(" "));
                add("exclude", copy.exclude_patterns.join(" "));
                let flags = [
                    (copy.follow_symlink, "follow symlinks"),
                    (copy.dir_copy_contents, "content of directories"),
                    (copy.attempt_unpack_docker_compatibility, "unpack archives"),
                    (copy.always_replace_existing_dest_paths, "replace existing paths"),
                ];
                let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, words)| words).collect();
                add("options", flags.join(", "));
                self.read(action.secondary_input, &copy.src);
            }
            Some(Action::Mkfile(file)) => {
                let mut add = |what: &str, value: String| self.add(format!("file {number} {what}"), value);
                add("path", file.path.clone());
                add("content", digest::sha256(&file.data));
                add("owner", owner_words(file.owner.as_ref()));
                add("mode", mode_words(file.mode));
                add("timestamp", timestamp_words(file.timestamp));
            }
            Some(Action::Mkdir(directory)) => {
                let mut add = |what: &str, value: String| self.add(format!("directory {number} {what}"), value);
                add("path", directory.path.clone());
                add("owner", owner_words(directory.owner.as_ref()));
                add("mode", mode_words(directory.mode));
                add("timestamp", timestamp_words(directory.timestamp));
            }
            Some(Action::Rm(removal)) => self.add(format!("removal {number} path"), &removal.path),
            Some(Action::Symlink(link)) => {
                self.add(format!("symlink {number}"), format!("{} -> {}", link.newpath, link.oldpath));
                self.add(format!("symlink {number} timestamp"), timestamp_words(link.timestamp));
            }
            None => {}
        }
    }

    fn add_source(&mut self, source: &pb::SourceOp) {
        match source.identifier.split_once("://") {
            Some(("docker-image", reference)) => {
                let (name, digest) = reference.split_once('@').unwrap_or((reference, ""));
                self.add("image", name);
                self.add("image digest", digest);
            }
            Some(("local", name)) => {
                self.add("directory", name);
                return;
            }
            _ => self.add("source", &source.identifier),
        }
        for (name, value) in source.attrs.iter().filter(|(name, _)| !NOT_IN_KEY.contains(&name.as_str())) {
            self.add(name, value);
        }
    }
}

fn mount_words(mount: &pb::Mount) -> String {
    let words = match mount.mount_type() {
        pb::MountType::Bind => format!("bind source={}", if mount.selector.is_empty() { "/" } else { &mount.selector }),
        pb::MountType::Cache => {
            let cache = mount.cache_opt.clone().unwrap_or_default();
            let default = cache.id == mount.dest || cache.id.ends_with(&format!("/{}", mount.dest));
            // Ids that somebody chose are left out of the key, and so is how they are shared.
            match default && cache.sharing == pb::CacheSharingOpt::Shared as i32 {
                true => format!("cache id={} sharing=shared", cache.id),
                false => "cache".to_owned(),
            }
        }
        pb::MountType::Tmpfs => match mount.tmpfs_opt {
            Some(tmpfs) if tmpfs.size > 0 => format!("tmpfs size={}", tmpfs.size),
            _ => "tmpfs".to_owned(),
        },
        pb::MountType::Secret => {
            let secret = mount.secret_opt.clone().unwrap_or_default();
            let words = format!("secret id={} mode={:04o} owner={}:{}", secret.id, secret.mode, secret.uid, secret.gid);
            with_flag(words, secret.optional)
        }
        pb::MountType::Ssh => {
            let ssh = mount.ssh_opt.clone().unwrap_or_default();
            let words = format!("ssh id={} mode={:04o} owner={}:{}", ssh.id, ssh.mode, ssh.uid, ssh.gid);
            with_flag(words, ssh.optional)
        }
    };
    if mount.readonly { format!("{words} readonly") } else { words }
}

fn with_flag(words: String, optional: bool) -> String {
    if optional { format!("{words} optional") } else { words }
}

/// The mode a file is given; nothing when it keeps its own.
fn mode_words(mode: i32) -> String {
    if mode < 0 { String::new() } else { format!("{mode:04o}") }
}

/// The time a file is given, in seconds of the epoch; nothing when it keeps its own.
fn timestamp_words(nanoseconds: i64) -> String {
    if nanoseconds < 0 { String::new() } else { (nanoseconds / 1_000_000_000).to_string() }
}

fn owner_words(owner: Option<&pb::ChownOpt>) -> String {
    let Some(owner) = owner else { return String::new() };
    let words = |user: &Option<pb::UserOpt>| match user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(pb::user_opt::User::ByName(named)) => named.name.clone(),
        Some(pb::user_opt::User::ById(id)) => id.to_string(),
        None => String::new(),
    };
    format!("{}:{}", words(&owner.user), words(&owner.group))
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
