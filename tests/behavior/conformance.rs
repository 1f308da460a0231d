//! What every kind of builder owes: the same job and the same four troubles, for each of them.

use std::fs;
use std::net::SocketAddr;

use crate::eras::found_by_check_and_smoke;
use crate::support::calls::Invocation;
use crate::support::docker::Version;
use crate::support::judge::changed;
use crate::support::led::{Led, Tool};
use crate::support::run::Running;
use crate::support::{Authority, Builder, Docker, Ecr, Fault, Faults, Run, World, ground, process, wait_until};
use crate::tcp::listening;

/// A kind of builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A daemon of cachewarm's own, by the name of its buildkitd.
    Spawn(&'static str),
    /// A daemon that runs, on a socket.
    Unix(&'static str),
    /// A daemon that runs, on TCP with TLS from both sides.
    Tcp,
    /// A container that runs.
    Found(Version),
    /// A container that cachewarm makes.
    Created(Version),
    /// The BuildKit inside dockerd.
    Embedded(Version),
    /// One that a program of another tool leads to, so that its disk is not looked at.
    Led(Tool),
}

impl Kind {
    fn is_spawn(self) -> bool {
        matches!(self, Kind::Spawn(_))
    }
}

/// What stands behind the builder, as far as the test started it.
#[derive(Debug)]
enum Behind {
    Nothing,
    Daemon(Builder),
    Docker(Box<Docker>),
    Led(Led),
}

/// A builder, and what it builds from through a proxy that misbehaves on cue.
struct Subject {
    kind: Kind,
    world: World,
    faults: Faults,
    address: String,
    flags: Vec<(&'static str, String)>,
    behind: Behind,
}

impl Subject {
    fn new(kind: Kind) -> Subject {
        let mut world = match kind {
            Kind::Spawn(buildkitd) | Kind::Unix(buildkitd) => World::with(buildkitd),
            _ => World::new(),
        };
        let faults = Faults::before(ground().registry.address());
        // Everything comes through the proxy, names of docker.io as well.
        let config = fs::read_to_string(world.config()).unwrap();
        let mirror = |address: SocketAddr| format!("mirrors = [\"{address}\"]");
        let mut config = config.replace(&mirror(ground().registry.address()), &mirror(faults.address()));
        if matches!(kind, Kind::Found(_) | Kind::Created(_) | Kind::Led(Tool::Podman)) {
            // The recorder of steps is not in the container.
            config.truncate(config.find("[worker.oci]").unwrap());
        }
        fs::write(world.config(), config).unwrap();
        let name = format!("cw{}", world.folder().file_name().unwrap().to_str().unwrap());
        let mut flags = Vec::new();
        let (address, behind) = match kind {
            Kind::Spawn(_) => (format!("spawn:{}", world.buildkitd().display()), Behind::Nothing),
            Kind::Unix(_) => {
                let builder = world.daemon(&world.path("daemon"), &world.root(), &world.config());
                (builder.address(), Behind::Daemon(builder))
            }
            Kind::Tcp => {
                let authority = Authority::new(world.path("tls"));
                authority.vouch("daemon", "IP:127.0.0.1", 2);
                authority.vouch("client", "DNS:client", 2);
                let file = |name: &str| authority.file(name);
                let tls = [file("ca.pem"), file("daemon.pem"), file("daemon.key")];
                let [ca, certificate, key] = &tls;
                let tls = ["--tlscacert", ca, "--tlscert", certificate, "--tlskey", key];
                let (builder, address) = listening(&world, &world.root(), &tls);
                flags.extend([("--tlscacert", file("ca.pem")), ("--tlscert", file("client.pem"))]);
                flags.push(("--tlskey", file("client.key")));
                (format!("tcp://{address}"), Behind::Daemon(builder))
            }
            Kind::Found(version) => {
                let docker = Docker::shared(version);
                world.set("DOCKER_HOST", &docker.host());
                docker.run_builder(&name, Some(world.root().to_str().unwrap()), &world.config());
                (format!("docker-container://{name}"), Behind::Nothing)
            }
            Kind::Created(version) => {
                world.set("DOCKER_HOST", &Docker::shared(version).host());
                (format!("docker-container://{name}"), Behind::Nothing)
            }
            Kind::Embedded(version) => {
                let docker = Docker::start(&world.path("docker"), version, faults.address());
                world.set("DOCKER_HOST", &docker.host());
                if version == Version::V20 {
                    // This one keys steps by other keys than today's BuildKit, so they run; and it has no bridge.
                    flags.push(("--network", "none".to_owned()));
                }
                ("docker".to_owned(), Behind::Docker(Box::new(docker)))
            }
            Kind::Led(tool) => {
                let led = Led::start(&mut world, tool, &name);
                (led.address(), Behind::Led(led))
            }
        };
        Subject { kind, world, faults, address, flags, behind }
    }

    /// The container's name.
    fn name(&self) -> &str {
        self.address.strip_prefix("docker-container://").unwrap()
    }

    fn warm(&self) -> Invocation<'_> {
        let donor = format!("{}/team/sample:cache", self.faults.address());
        let run = self.world.warm().from([&donor]).builder(&self.address);
        let is_found = matches!(self.kind, Kind::Found(_) | Kind::Embedded(_) | Kind::Led(_));
        let run = if is_found { run.without_root() } else { run };
        // It finds nothing of a cache that today's BuildKit has exported.
        let is_v20 = self.kind == Kind::Embedded(Version::V20);
        let run = if is_v20 { run.with(["--min-hit-rate", "0"]) } else { run };
        self.flags.iter().fold(run, |run, (flag, value)| run.with([flag, value]))
    }

    /// Panics unless the run did all that can be done with this kind of builder, and the root bears it out.
    fn ended_well(&self, run: Run) {
        match self.kind {
            Kind::Embedded(version) => {
                let run = run.exits(0);
                assert_eq!(run.reports("/verdict"), "warm");
                assert_eq!((run.reports("/proof/on"), run.reports("/proof/ran")), ("builder".into(), [0; 0].into()));
                if version == Version::V29 {
                    assert_eq!(run.reports("/hit_rate"), 1.0);
                }
            }
            Kind::Led(_) => {
                let run = run.exits(0);
                assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("warm".into(), 1.0.into()));
                assert_eq!((run.reports("/proof/on"), run.reports("/proof/ran")), ("builder".into(), [0; 0].into()));
                assert_eq!(run.reports("/builder/address"), self.address.as_str());
                self.world
                    .judged(&self.world.root(), changed("tests/test_kernel.py"))
                    .ran_only(&["test 1/2", "test 2/2"]);
            }
            _ => {
                let run = run.ends_warm();
                assert_eq!(run.reports("/builder/state_root"), self.world.root().to_str().unwrap());
                self.world
                    .judged(&self.world.root(), changed("tests/test_kernel.py"))
                    .ran_only(&["test 1/2", "test 2/2"]);
            }
        }
    }

    /// Smoke of the sample with a step that takes an hour: a miss, which does not run afterwards; said again the same way.
    fn an_hour_is_only_asked_about(&self) {
        let context = self.world.path("edited");
        super::support::git::sample(&context);
        let dockerfile = fs::read_to_string(context.join("Dockerfile")).unwrap();
        let mark = format!("mark-{}", self.world.folder().display());
        let hour = dockerfile.replacen("RUN mkdir -p /opt", &format!("RUN : {mark}; sleep 3600; mkdir -p /opt"), 1);
        assert_ne!(hour, dockerfile);
        fs::write(context.join("Dockerfile"), hour).unwrap();
        let mut flags = vec!["--builder", self.address.as_str()];
        flags.extend(self.flags.iter().flat_map(|(flag, value)| [*flag, value.as_str()]));
        let root = self.world.root().display().to_string();
        if self.kind.is_spawn() {
            flags.extend(["--root", &root]);
        }
        let smoke = || self.world.smoke_with(&context, &flags);
        if let Kind::Created(_) = self.kind {
            // It went with the warm run, and smoke makes none.
            smoke().blames(&["there is no container"]);
            return;
        }
        let missed = |run: &Run| {
            let steps = run.reports("/steps");
            let missed = steps.as_array().unwrap().iter().filter(|step| step["state"] == "miss");
            missed.map(|step| step["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let first = smoke().exits(5);
        if self.kind != Kind::Embedded(Version::V20) {
            let steps = missed(&first);
            assert!(steps.len() == 1 && steps[0].contains(&mark), "{steps:?}\n{}", first.stdout);
        }
        assert_eq!(first.reports("/layers").is_null(), !self.kind.is_spawn());
        let ends = || wait_until("the step ends", 10, || !process::mentions(&mark));
        ends();
        assert_eq!(missed(&smoke().exits(5)), missed(&first));
        ends();
    }

    /// Panics when something of ours is still there.
    fn left_nothing(&self) {
        if let Behind::Led(led) = &self.behind {
            led.is_left_alone();
        }
        match self.kind {
            Kind::Spawn(_) => self.world.left_nothing_running(),
            Kind::Created(version) => {
                assert!(!Docker::shared(version).has(self.name()), "the container is still there");
                self.world.left_nothing_running();
            }
            Kind::Found(version) => assert!(Docker::shared(version).has(self.name()), "somebody's container is gone"),
            _ => {}
        }
    }

    /// A run that has begun to fetch and cannot go on until the proxy behaves.
    fn held(&self, more: [&str; 2]) -> Running {
        let layers = ground().registry.layers("team/sample", "cache");
        for (layer, _) in &layers {
            self.faults.always(&format!("GET {layer}"), Fault::StallAfter(1_000));
        }
        let running = self.warm().with(more).start();
        wait_until("a blob is on its way", 60, || {
            layers.iter().any(|(layer, _)| !self.faults.requests(&format!("GET {layer}")).is_empty())
        });
        running
    }

    fn kill_builder(&mut self) {
        match (self.kind, &mut self.behind) {
            (_, Behind::Daemon(builder)) => builder.kill(),
            (_, Behind::Docker(docker)) => docker.kill(),
            (_, Behind::Led(led)) => led.kill(),
            (Kind::Found(version) | Kind::Created(version), Behind::Nothing) => {
                Docker::shared(version).docker(&["kill", self.name()]);
            }
            (_, Behind::Nothing) => {
                let users = self.world.running();
                let daemons: Vec<_> = users.iter().filter(|(_, line)| line.contains("buildkitd --config")).collect();
                assert!(!daemons.is_empty(), "{users:?}");
                daemons.into_iter().for_each(|(id, _)| process::signal(*id, "KILL"));
            }
        }
    }

    /// Has the builder there again, unless cachewarm starts it.
    fn revive_builder(&mut self) {
        match (self.kind, &mut self.behind) {
            (Kind::Found(version), _) => drop(Docker::shared(version).docker(&["start", self.name()])),
            (_, Behind::Docker(docker)) => docker.restart(),
            (_, Behind::Led(led)) => led.revive(),
            (_, Behind::Daemon(_)) => {
                // The same root, by a daemon of cachewarm's own.
                self.behind = Behind::Nothing;
                self.flags.clear();
                self.address = format!("spawn:{}", self.world.buildkitd().display());
            }
            (_, Behind::Nothing) => {}
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Kind::Found(version) | Kind::Created(version) = self.kind {
            let docker = Docker::shared(version);
            if docker.has(self.name()) {
                docker.docker(&["rm", "--force", "--volumes", self.name()]);
            }
        }
    }
}

fn warms_the_sample(kind: Kind) {
    let subject = Subject::new(kind);
    let run = subject.warm().run();
    subject.left_nothing();
    subject.ended_well(run);
    if kind.is_spawn() || matches!(kind, Kind::Unix(_)) {
        found_by_check_and_smoke(&subject.world);
    }
    subject.an_hour_is_only_asked_about();
}

fn a_bad_token_is_an_error_and_nothing_runs(kind: Kind) {
    let subject = Subject::new(kind);
    for (layer, _) in ground().registry.layers("team/sample", "cache") {
        subject.faults.always(&format!("GET {layer}"), Ecr::expired());
    }

    let run = subject.warm().with(["--stall-timeout", "3s"]).run().exits(3);

    // Docker 20.10 tries for minutes and does not say why.
    let says = if subject.kind == Kind::Embedded(Version::V20) { "nothing moved for" } else { "403" };
    assert!(run.stderr.contains(says), "{}", run.stderr);
    assert!(!run.stderr.contains("ran in"), "a step ran because of a bad token: {}", run.stderr);
    subject.left_nothing();
}

fn a_blob_that_stalls_is_asked_for_again(kind: Kind) {
    let subject = Subject::new(kind);
    // The frontend's as well: it is fetched before anything is known of the build.
    for (repository, tag) in [("team/sample", "cache"), ("docker/dockerfile", "1")] {
        for (layer, _) in ground().registry.layers(repository, tag) {
            subject.faults.times(1, &format!("GET {layer}"), Fault::StallAfter(1_000));
        }
    }

    let run = subject.warm().with(["--stall-timeout", "3s"]).run();

    assert!(run.stderr.contains("nothing moved for"), "{}", run.stderr);
    subject.ended_well(run);
}

fn a_signal_midway_ends_it_in_order(kind: Kind) {
    let subject = Subject::new(kind);
    let running = subject.held(["--stall-timeout", "60s"]);

    running.signal("TERM");

    running.ends().exits(130);
    subject.left_nothing();
    subject.faults.behave();
    let run = subject.warm().run();
    subject.ended_well(run);
}

fn a_builder_killed_midway_is_a_failure_to_go_on_from(kind: Kind) {
    let mut subject = Subject::new(kind);
    let running = subject.held(["--stall-timeout", "60s"]);

    subject.kill_builder();

    let run = running.ends().exits(3);
    assert!(run.stderr.contains("went away in the middle of the run"), "{}", run.stderr);
    subject.left_nothing();
    subject.faults.behave();
    subject.revive_builder();
    let run = subject.warm().run();
    subject.ended_well(run);
}

macro_rules! conform {
    ($($name:ident: $kind:expr;)*) => {$(
        mod $name {
            use super::*;

            conform!(@each $kind, warms_the_sample, a_bad_token_is_an_error_and_nothing_runs,
                a_blob_that_stalls_is_asked_for_again, a_signal_midway_ends_it_in_order,
                a_builder_killed_midway_is_a_failure_to_go_on_from);
        }
    )*};
    (@each $kind:expr, $($test:ident),*) => {$(
        #[test]
        fn $test() {
            super::$test($kind);
        }
    )*};
}

macro_rules! conform_older {
    ($($name:ident: $kind:expr;)*) => {$(
        mod $name {
            use super::*;

            conform!(@each $kind, warms_the_sample, a_blob_that_stalls_is_asked_for_again);
        }
    )*};
}

conform_older! {
    spawn_older: Kind::Spawn("BUILDKITD_OLDER");
    spawn_oldest: Kind::Spawn("BUILDKITD_OLDEST");
    unix_older: Kind::Unix("BUILDKITD_OLDER");
    unix_oldest: Kind::Unix("BUILDKITD_OLDEST");
}

conform! {
    spawn: Kind::Spawn("BUILDKITD");
    unix: Kind::Unix("BUILDKITD");
    tcp: Kind::Tcp;
    container_found_20: Kind::Found(Version::V20);
    container_found_29: Kind::Found(Version::V29);
    container_created_20: Kind::Created(Version::V20);
    container_created_29: Kind::Created(Version::V29);
    docker_20: Kind::Embedded(Version::V20);
    docker_29: Kind::Embedded(Version::V29);
    ssh: Kind::Led(Tool::Ssh);
    podman: Kind::Led(Tool::Podman);
    nerdctl: Kind::Led(Tool::Nerdctl);
    kube_pod: Kind::Led(Tool::Kubectl);
}
