//! CI's own line, `-- docker buildx build …` or `-- docker buildx bake …`: a place that settings come from.
//!
//! **Invariant:** every word of it is honoured, changes no step, or is refused with the reason.

mod flags;
mod words;

use self::flags::{Effect, On};
use self::words::{Words, refused};
use super::bake::Call;
use super::settings::{Given, Origin};
use crate::targets;

/// A line that was understood.
pub(crate) struct Line(Words);

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// A usage error that names the word.
    pub(crate) fn of(line: &[String]) -> anyhow::Result<Line> {
        let words = Words::of(line)?;
        let mut harmless: Vec<&str> = Vec::new();
        for (flag, _) in &words.flags {
            if let Effect::Harmless(why) = flag.effect
                && !harmless.contains(&flag.name)
            {
                tracing::info!("--{} of the line is left out: {why}", flag.name);
                harmless.push(flag.name);
            }
        }
        if words.command == On::Build && words.operands.len() != 1 {
            let problem = format!("it takes one PATH or URL, and has {}", words.operands.len());
            return Err(refused("build", &problem, "write the line as CI's script has it"));
        }
        Ok(Line(words))
    }

    /// Whether it is `docker build`.
    pub(crate) fn is_build(&self) -> bool {
        self.0.command == On::Build
    }

    /// What it says of a setting that has one value.
    pub(crate) fn one(&self, setting: &'static str) -> Option<Given<String>> {
        let Given { mut value, origin } = self.many(setting)?;
        Some(Given { value: value.pop()?, origin })
    }

    /// What it says of a setting.
    pub(crate) fn many(&self, setting: &'static str) -> Option<Given<Vec<String>>> {
        let values = || self.0.values(setting);
        let operands = || self.0.operands.clone();
        let (name, values) = match (self.0.command, setting) {
            (On::Build, "context") => ("PATH|URL", operands()),
            // Where docker takes one value, the last one counts.
            (On::Build, "file" | "target" | "network" | "shm-size" | "cgroup-parent") => {
                (setting, values().pop().into_iter().filter(|value| !value.is_empty()).collect())
            }
            (
                On::Build,
                "add-host" | "build-arg" | "build-context" | "label" | "no-cache-filter" | "platform" | "secret"
                | "ssh" | "ulimit",
            ) => (setting, values()),
            // Any other value was refused.
            (_, "policy") => (setting, values()),
            // Where it names none, buildx looks for files by itself.
            (On::Bake, "bake") => return Some(given("file", self.0.values("file"))),
            (On::Bake, "bake-target") => ("TARGET", operands()),
            _ => return None,
        };
        Some(given(name, values)).filter(|given| !given.value.is_empty())
    }

    /// What it adds to `--allow`.
    pub(crate) fn allowed(&self) -> Vec<String> {
        self.0.values("allow")
    }

    /// Whether it has `--no-cache`.
    pub(crate) fn is_without_cache(&self) -> bool {
        self.no_cache() == Some("true")
    }

    /// Whether it has `--pull`.
    pub(crate) fn is_pulling(&self) -> bool {
        self.last("pull") == Some("true")
    }

    /// What it says by a flag of docker's own, `docker --context NAME`.
    pub(crate) fn of_docker(&self, name: &str) -> Option<String> {
        let of_docker = |flag: &flags::Flag| flag.on == On::Docker && flag.name == name;
        let last = self.0.leading.iter().rfind(|(flag, _)| of_docker(flag));
        last.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    fn no_cache(&self) -> Option<&str> {
        self.last("no-cache")
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.0.flags.iter().rfind(|(flag, _)| flag.name == name).map(|(_, value)| value.as_str())
    }

    /// Its caches, where no other place names caches; and what a person should know about those that are left out.
    pub(crate) fn caches(&self, warnings: &mut Vec<String>) -> Given<Vec<String>> {
        let mut sources = self.0.values("cache-from");
        sources.retain(|text| {
            let kind = targets::flags::attributes(text).ok().flatten().and_then(|mut fields| fields.remove("type"));
            let other = kind.filter(|kind| !targets::flags::is_importable(kind));
            if let Some(kind) = &other {
                warnings.push(format!(
                    "the cache of type {kind} is left out, for only those of types registry and local can be read; \
                     --cache-from before -- replaces it"
                ));
            }
            other.is_none()
        });
        given("cache-from", sources)
    }

    /// How it calls buildx, when it is `docker buildx bake`.
    pub(crate) fn call(&self) -> Option<Call> {
        if self.is_build() {
            return None;
        }
        let mut flags: Vec<String> = Vec::new();
        for name in ["set", "var", "allow", "builder"] {
            flags.extend(self.0.values(name).into_iter().map(|value| format!("--{name}={value}")));
        }
        // What a file says itself cannot be taken back by us.
        let is_cached = self.no_cache() == Some("false");
        if is_cached {
            flags.push("--no-cache=false".to_owned());
        }
        let decides = is_cached || ["set", "var"].iter().any(|name| !self.0.values(name).is_empty());
        let url = self.0.operands.first().filter(|first| targets::flags::is_remote(first)).cloned();
        Some(Call { program: self.0.program.clone(), flags, decides, url })
    }
}

fn given<T>(name: &'static str, value: T) -> Given<T> {
    Given { value, origin: Origin::Line(name) }
}

#[cfg(test)]
mod tests {
    use super::flags::FLAGS;
    use super::*;
    use crate::cli::settings::{Environment, OF_THE_BUILD, Sources};

    fn line(words: &str) -> anyhow::Result<Line> {
        Line::of(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_flag_that_is_honoured_changes_a_setting() {
        for flag in FLAGS.iter().filter(|flag| flag.effect == Effect::Honoured) {
            for (command, on) in [("build", On::Build), ("bake", On::Bake)] {
                if flag.is_of(on) {
                    let value = if ["no-cache", "pull"].contains(&flag.name) { "true" } else { "sample=1" };
                    let settings = |words: &str| {
                        let line = line(words).expect("the line is sound");
                        let others = ["context", "secret", "ssh", "cgroup-parent", "bake", "bake-target"];
                        let of_settings: Vec<_> =
                            OF_THE_BUILD.into_iter().chain(others).map(|name| line.many(name)).collect();
                        let switches = (line.is_without_cache(), line.is_pulling());
                        let caches = line.caches(&mut Vec::new());
                        format!("{of_settings:?} {caches:?} {switches:?} {:?} {:?}", line.allowed(), line.call())
                    };
                    let with = settings(&format!("docker buildx {command} --{}={value} sample", flag.name));
                    let without = settings(&format!("docker buildx {command} sample"));
                    assert_ne!(with, without, "{command} --{}", flag.name);
                }
            }
        }
    }

    #[test]
    fn flags_of_docker_itself_are_told_from_those_of_the_build() {
        let line = line("docker -H a --host b buildx -c ci build --add-host h:1 .").expect("sound");
        assert_eq!((line.of_docker("host"), line.of_docker("context")), (Some("b".into()), Some("ci".into())));
        assert_eq!(line.of_docker("add-host"), None);
    }

    #[test]
    fn a_cache_that_nobody_can_read_is_left_out_with_a_word() {
        let words = "docker build --cache-from type=gha,scope=x --cache-from type=registry,ref=r/c --cache-from r/d .";
        let mut warnings = Vec::new();
        let caches = line(words).expect("sound").caches(&mut warnings);
        assert_eq!(caches.value, ["type=registry,ref=r/c", "r/d"]);
        assert!(warnings[0].contains("type gha"), "{warnings:?}");
    }

    #[test]
    fn what_the_line_says_is_not_said_twice() {
        let environment = Environment::holding(&[("CACHEWARM_TARGET", "x")]);
        let refused = |words: &[&str], environment: &Environment| match Sources::typed("warm", words, environment) {
            Ok(_) => panic!("{words:?} is not refused"),
            Err(error) => error.to_string(),
        };
        insta::assert_snapshot!(refused(&["--", "docker", "build", "."], &environment), @"could not use CACHEWARM_TARGET: the line after -- says what is built");
        insta::assert_snapshot!(refused(&["--", "docker", "build", "a", "b"], &Environment::holding(&[])), @"could not use `build` of the line after --: it takes one PATH or URL, and has 2");
    }
}
