//! Every flag of `docker buildx build` and `docker buildx bake`, hidden ones included, as of buildx v0.38, and what becomes
//! of it here. `tests/behavior/line.rs` holds the table against buildx itself.

use self::Effect::{Harmless, Honoured, Refused, Unless};
use self::On::{Bake, Both, Build, Docker};
use self::Value::{Switch, Text};

/// Which of the two commands takes a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// `build`.
    Build,
    /// `bake`.
    Bake,
    /// Both, with the same meaning.
    Both,
    /// Neither: docker itself.
    Docker,
}

/// How a flag's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// `--flag=VALUE` or `--flag VALUE`.
    Text,
    /// `--flag` or `--flag=BOOL`.
    Switch,
}

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is a setting of ours.
    Honoured,
    /// It changes no step, and why.
    Harmless(&'static str),
    /// The line is refused, and why.
    Refused(&'static str),
    /// The line is refused, and why, unless the value is this one.
    Unless(&'static str, &'static str),
}

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// Its long name.
    pub(super) name: &'static str,
    /// Its letter, if it has one.
    pub(super) letter: Option<char>,
    /// Who takes it.
    pub(super) on: On,
    /// How its value is written.
    pub(super) value: Value,
    /// What becomes of it.
    pub(super) effect: Effect,
}

impl Flag {
    /// Whether a command takes it.
    pub(super) fn is_of(&self, command: On) -> bool {
        self.on == command || (self.on == Both && command != Docker)
    }
}

const OUTPUT: &str = "what is exported, and how it is called, changes no layer";
const SHOWN: &str = "it is about what docker shows";
const ATTESTED: &str = "attestations are made of the result, and change no step";
const LIMITS: &str = "limits of resources are part of no cache key";
const IGNORED: &str = "BuildKit does not know it, and buildx passes it over";
const BUILDER: &str = "which builder is meant is said by cachewarm's own --builder";
const NO_BUILD: &str = "it asks about the build, and builds nothing";
const POLICY: &str = "a policy may exchange what a build is made from, and is evaluated by buildx alone";

const fn flag(name: &'static str, on: On, value: Value, effect: Effect) -> Flag {
    Flag { name, letter: None, on, value, effect }
}

const fn lettered(name: &'static str, letter: char, on: On, value: Value, effect: Effect) -> Flag {
    Flag { name, letter: Some(letter), on, value, effect }
}

/// The flags.
pub(super) const FLAGS: [Flag; 68] = [
    flag("add-host", Build, Text, Honoured),
    flag("allow", Both, Text, Honoured),
    flag("annotation", Build, Text, Harmless(OUTPUT)),
    flag("attest", Build, Text, Harmless(ATTESTED)),
    flag("build-arg", Build, Text, Honoured),
    flag("build-context", Build, Text, Honoured),
    flag("builder", Both, Text, Harmless(BUILDER)),
    flag("cache-from", Build, Text, Honoured),
    flag("cache-to", Build, Text, Harmless(OUTPUT)),
    flag("call", Both, Text, Unless("build", NO_BUILD)),
    flag("cgroup-parent", Build, Text, Honoured),
    flag("check", Both, Switch, Refused(NO_BUILD)),
    flag("compress", Build, Switch, Harmless(IGNORED)),
    flag("cpu-period", Build, Text, Harmless(LIMITS)),
    flag("cpu-quota", Build, Text, Harmless(LIMITS)),
    lettered("cpu-shares", 'c', Build, Text, Harmless(LIMITS)),
    flag("cpuset-cpus", Build, Text, Harmless(LIMITS)),
    flag("cpuset-mems", Build, Text, Harmless(LIMITS)),
    lettered("debug", 'D', Both, Switch, Harmless(SHOWN)),
    lettered("file", 'f', Both, Text, Honoured),
    flag("force-rm", Build, Switch, Harmless(IGNORED)),
    lettered("help", 'h', Both, Switch, Refused(NO_BUILD)),
    flag("iidfile", Build, Text, Harmless(OUTPUT)),
    flag("isolation", Build, Text, Harmless(IGNORED)),
    lettered("jobs", 'j', Bake, Text, Harmless("how many targets are built at a time changes none of them")),
    flag("label", Build, Text, Honoured),
    flag("list", Bake, Text, Refused(NO_BUILD)),
    flag("list-targets", Bake, Switch, Refused(NO_BUILD)),
    flag("list-variables", Bake, Switch, Refused(NO_BUILD)),
    flag("load", Both, Switch, Harmless(OUTPUT)),
    lettered("memory", 'm', Build, Text, Harmless(LIMITS)),
    flag("memory-swap", Build, Text, Harmless(LIMITS)),
    flag("metadata-file", Both, Text, Harmless(OUTPUT)),
    flag("network", Build, Text, Honoured),
    flag("no-cache", Both, Switch, Honoured),
    flag("no-cache-filter", Build, Text, Honoured),
    lettered("output", 'o', Build, Text, Harmless(OUTPUT)),
    flag("platform", Build, Text, Honoured),
    flag("policy", Both, Text, Unless("disabled=true", POLICY)),
    flag("print", Bake, Switch, Harmless("what it would print is what is built here")),
    flag("print", Build, Text, Refused(NO_BUILD)),
    flag("progress", Both, Text, Harmless(SHOWN)),
    flag("provenance", Both, Text, Harmless(ATTESTED)),
    flag("pull", Both, Switch, Honoured),
    flag("push", Both, Switch, Harmless(OUTPUT)),
    lettered("quiet", 'q', Build, Switch, Harmless(SHOWN)),
    flag("resource", Build, Text, Harmless(LIMITS)),
    flag("rm", Build, Switch, Harmless(IGNORED)),
    flag("sbom", Both, Text, Harmless(ATTESTED)),
    flag("secret", Build, Text, Honoured),
    flag("security-opt", Build, Text, Harmless(IGNORED)),
    flag("set", Bake, Text, Honoured),
    flag("shm-size", Build, Text, Honoured),
    flag("squash", Build, Switch, Harmless(IGNORED)),
    flag("ssh", Build, Text, Honoured),
    lettered("tag", 't', Build, Text, Harmless(OUTPUT)),
    flag("target", Build, Text, Honoured),
    flag("ulimit", Build, Text, Honoured),
    flag("var", Bake, Text, Honoured),
    // What may stand between `docker` and the command.
    flag("config", Docker, Text, Refused("which configuration docker uses is told to cachewarm by DOCKER_CONFIG")),
    // Proxies may be of one daemon.
    lettered("context", 'c', Docker, Text, Honoured),
    lettered("host", 'H', Docker, Text, Honoured),
    lettered("log-level", 'l', Docker, Text, Harmless(SHOWN)),
    flag("tls", Docker, Switch, Harmless(BUILDER)),
    flag("tlscacert", Docker, Text, Harmless(BUILDER)),
    flag("tlscert", Docker, Text, Harmless(BUILDER)),
    flag("tlskey", Docker, Text, Harmless(BUILDER)),
    flag("tlsverify", Docker, Switch, Harmless(BUILDER)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_has_two_flags_of_one_name_or_letter() {
        for command in [Build, Bake, Docker] {
            let of = FLAGS.iter().filter(|flag| flag.is_of(command));
            let mut names: Vec<String> =
                of.flat_map(|flag| [Some(flag.name.to_owned()), flag.letter.map(String::from)]).flatten().collect();
            names.sort();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{command:?}");
        }
    }
}
