//! The words of a line that calls docker, read as docker and buildx read them (cobra and pflag): flags anywhere, letters
//! joined, a value behind `=` or in the next word, `--` before what is no flag.

use super::flags::{Effect, FLAGS, Flag, On, Value};
use crate::failure::{Failure, Kind};

/// A line that was understood.
#[derive(Debug)]
pub(super) struct Words {
    /// The program and what leads to the command, `docker --context x buildx`, without the command itself.
    pub(super) program: Vec<String>,
    /// Each flag of docker's own among them.
    pub(super) leading: Vec<(&'static Flag, String)>,
    /// `build` or `bake`.
    pub(super) command: On,
    /// Each flag of the command and its value, in order. A switch has `true` or `false`.
    pub(super) flags: Vec<(&'static Flag, String)>,
    /// The words that are no flags.
    pub(super) operands: Vec<String>,
}

/// An error about the line. What stands behind `=` may be a secret, and is not shown.
pub(super) fn refused(word: &str, problem: &str, hint: &str) -> anyhow::Error {
    let word = word.split('=').next().unwrap_or_default();
    Failure::new(Kind::Usage, format!("could not use `{word}` of the line after --: {problem}"), hint)
}

/// Variables that are often set at the front of such a line, and change nothing about BuildKit's builds.
const IDLE: [&str; 3] = ["DOCKER_BUILDKIT=1", "DOCKER_CLI_EXPERIMENTAL=", "BUILDKIT_PROGRESS="];

const FORMS: &str =
    "write docker buildx build …, docker build … or docker buildx bake … after --, as CI's script has it";

impl Words {
    /// Reads a line.
    ///
    /// # Errors
    /// A usage error that names the word: no line of docker's, a flag that buildx does not have, one that is refused here.
    pub(super) fn of(line: &[String]) -> anyhow::Result<Words> {
        let is_idle = |word: &&str| IDLE.iter().any(|idle| word.starts_with(idle));
        let mut words = line.iter().map(String::as_str).skip_while(is_idle);
        let program = words.next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default();
        if program.contains('=') {
            let hint = "set the variable before cachewarm: VARIABLE=VALUE cachewarm …";
            return Err(refused(program, "it sets a variable", hint));
        }
        let is_buildx = matches!(name, "buildx" | "docker-buildx");
        if !is_buildx && name != "docker" {
            return Err(refused(program, "it is neither docker nor buildx", FORMS));
        }
        let mut read = Words {
            program: vec![program.to_owned()],
            leading: Vec::new(),
            command: On::Docker,
            flags: Vec::new(),
            operands: Vec::new(),
        };
        let mut way = Vec::new();
        while let Some(word) = words.next() {
            if word.starts_with('-') && read.command == On::Docker {
                let known = flag_named(word, On::Docker).is_some();
                // Behind `buildx` stand its own flags, --builder and --debug.
                let of = if known { On::Docker } else { On::Build };
                let taken = read.take(word, of, &mut words)?;
                read.leading.append(&mut read.flags);
                read.program.extend(taken);
                continue;
            }
            way.push(word);
            match (way.as_slice(), is_buildx) {
                (["buildx" | "builder" | "image"], false) => read.program.push(word.to_owned()),
                (["build"] | ["buildx", "build" | "b"] | ["builder" | "image", "build"], false)
                | (["build" | "b"], true) => {
                    read.command = On::Build;
                    break;
                }
                (["buildx", "bake" | "f"], false) | (["bake" | "f"], true) => {
                    read.command = On::Bake;
                    break;
                }
                _ => return Err(refused(word, "it leads to no build", FORMS)),
            }
        }
        if read.command == On::Docker {
            return Err(refused(line.last().map_or("", String::as_str), "nothing is built", FORMS));
        }
        read.read_on(&mut words)?;
        Ok(read)
    }

    fn read_on<'w>(&mut self, words: &mut impl Iterator<Item = &'w str>) -> anyhow::Result<()> {
        while let Some(word) = words.next() {
            match word {
                "--" => {
                    self.operands.extend(words.map(str::to_owned));
                    return Ok(());
                }
                word if word.starts_with('-') && word != "-" => drop(self.take(word, self.command, words)?),
                word => self.operands.push(word.to_owned()),
            }
        }
        Ok(())
    }

    /// Takes the flags of one word, and their value where that is the next word. Gives the words that were taken.
    fn take<'w>(
        &mut self,
        word: &'w str,
        command: On,
        words: &mut impl Iterator<Item = &'w str>,
    ) -> anyhow::Result<Vec<String>> {
        let mut taken = vec![word.to_owned()];
        let mut next = |flag: &Flag| {
            let value =
                words.next().ok_or_else(|| refused(word, "its value is missing", "see docker buildx build --help"))?;
            debug_assert_eq!(flag.value, Value::Text);
            taken.push(value.to_owned());
            Ok::<String, anyhow::Error>(value.to_owned())
        };
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let flag = known(word, find(command, |flag| flag.name == name))?;
            let value = match (flag.value, value) {
                (_, Some(value)) => value.to_owned(),
                (Value::Switch, None) => "true".to_owned(),
                (Value::Text, None) => next(flag)?,
            };
            self.put(word, flag, value)?;
            return Ok(taken);
        }
        let mut rest = word.trim_start_matches('-');
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            let flag = known(word, find(command, |flag| flag.letter == Some(letter)))?;
            let value = match (flag.value, rest.strip_prefix('=')) {
                (_, Some(value)) => value.to_owned(),
                (Value::Switch, None) => {
                    self.put(word, flag, "true".to_owned())?;
                    continue;
                }
                (Value::Text, None) if !rest.is_empty() => rest.to_owned(),
                (Value::Text, None) => next(flag)?,
            };
            self.put(word, flag, value)?;
            break;
        }
        Ok(taken)
    }

    fn put(&mut self, word: &str, flag: &'static Flag, value: String) -> anyhow::Result<()> {
        let value = match flag.value {
            Value::Text => value,
            Value::Switch => match value.as_str() {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => "true".to_owned(),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => "false".to_owned(),
                _ => return Err(refused(word, "it is neither true nor false", "write --FLAG or --FLAG=false")),
            },
        };
        let is_off = flag.value == Value::Switch && value == "false";
        let problem = match flag.effect {
            Effect::Refused(problem) if !is_off => Some(problem),
            Effect::Unless(allowed, problem) if value != allowed => Some(problem),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(refused(word, problem, "leave it out of the line"));
        }
        self.flags.push((flag, value));
        Ok(())
    }

    /// The values of a flag, in order.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        self.flags.iter().filter(|(flag, _)| flag.name == name).map(|(_, value)| value.clone()).collect()
    }
}

fn find(command: On, is: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.is_of(command) && is(flag))
}

fn flag_named(word: &str, command: On) -> Option<&'static Flag> {
    match word.strip_prefix("--") {
        Some(long) => find(command, |flag| Some(flag.name) == long.split('=').next()),
        None => find(command, |flag| flag.letter == word.chars().nth(1)),
    }
}

fn known(word: &str, flag: Option<&'static Flag>) -> anyhow::Result<&'static Flag> {
    flag.ok_or_else(|| refused(word, "buildx v0.38 has no such flag", "correct the line, or tell us of a newer buildx"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<Words, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Words::of(&words).map_err(|error| format!("{error:#}"))
    }

    fn told(line: &str) -> String {
        match read(line) {
            Ok(words) => {
                let flags = words.flags.iter().map(|(flag, value)| format!("{}={value}", flag.name));
                let flags = flags.collect::<Vec<_>>().join(" ");
                format!("{} {:?} | {flags} | {}", words.program.join(" "), words.command, words.operands.join(" "))
            }
            Err(error) => error,
        }
    }

    #[test]
    fn a_line_is_read_as_buildx_reads_it() {
        for (line, expected) in [
            ("docker build .", "docker Build |  | ."),
            ("DOCKER_BUILDKIT=1 docker build .", "docker Build |  | ."),
            ("docker buildx build -t a -f d . --push", "docker buildx Build | tag=a file=d push=true | ."),
            ("docker image build -qta --no-cache=0 -", "docker image Build | quiet=true tag=a no-cache=false | -"),
            ("docker buildx b -f=x --build-arg A=B=C -- -x", "docker buildx Build | file=x build-arg=A=B=C | -x"),
            (
                "docker -D -c ci --log-level=debug buildx --builder b bake -f a.hcl app",
                "docker -D -c ci --log-level=debug buildx --builder b Bake | file=a.hcl | app",
            ),
            (
                "/usr/bin/docker-buildx bake --set *.args.A=B --var V=1",
                "/usr/bin/docker-buildx Bake | set=*.args.A=B var=V=1 | ",
            ),
            ("docker buildx build --call=build --check=false .", "docker buildx Build | call=build check=false | ."),
            ("docker build -m 2g -c 5 .", "docker Build | memory=2g cpu-shares=5 | ."),
        ] {
            assert_eq!(told(line), expected);
        }
    }

    #[test]
    fn what_is_no_build_is_refused_with_the_word() {
        let lines = [
            "podman build .",
            "NPM_TOKEN=hush docker build .",
            "docker run x",
            "docker buildx ls",
            "docker",
            "docker build --no-such-flag=hush .",
            "docker build -Z .",
            "docker build -t",
            "docker buildx build --call=outline .",
            "docker buildx build --push=perhaps .",
            "docker --config=/x build .",
        ];
        insta::assert_snapshot!(lines.map(told).join("\n"), @r"
        could not use `podman` of the line after --: it is neither docker nor buildx
        could not use `NPM_TOKEN` of the line after --: it sets a variable
        could not use `run` of the line after --: it leads to no build
        could not use `ls` of the line after --: it leads to no build
        could not use `docker` of the line after --: nothing is built
        could not use `--no-such-flag` of the line after --: buildx v0.38 has no such flag
        could not use `-Z` of the line after --: buildx v0.38 has no such flag
        could not use `-t` of the line after --: its value is missing
        could not use `--call` of the line after --: it asks about the build, and builds nothing
        could not use `--push` of the line after --: it is neither true nor false
        could not use `--config` of the line after --: which configuration docker uses is told to cachewarm by DOCKER_CONFIG
        ");
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(words in proptest::collection::vec("(docker|buildx|build|bake|--?[a-z=\u{e9}-]{0,9}|.{0,5})", 0..8)) {
            let _ = Words::of(&words);
        }
    }
}
