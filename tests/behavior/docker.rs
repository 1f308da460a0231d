//! Builders behind the Docker API, beyond what every builder owes: finding, making and leaving containers.

use std::fs;

use serde_json::json;

use crate::support::docker::{IMAGE, Version};
use crate::support::registry::free_address;
use crate::support::run::Running;
use crate::support::{Authority, Builder, Docker, Fault, Faults, Registry, World, ground, podman, wait_until};

/// A world whose Docker is the shared one of today, and the name of a container of its own.
struct Place {
    world: World,
    docker: &'static Docker,
    name: String,
}

impl Place {
    fn new() -> Place {
        let mut world = World::new();
        let docker = Docker::shared(Version::V29);
        world.set("DOCKER_HOST", &docker.host());
        let config = fs::read_to_string(world.config()).unwrap();
        // The recorder of steps is not in a container.
        fs::write(world.config(), &config[..config.find("[worker.oci]").unwrap()]).unwrap();
        let name = format!("cw{}", world.folder().file_name().unwrap().to_str().unwrap());
        Place { world, docker, name }
    }

    fn address(&self) -> String {
        format!("docker-container://{}", self.name)
    }

    fn root(&self) -> String {
        self.world.root().display().to_string()
    }

    /// A run in a container of its own that has begun to fetch and cannot go on.
    fn held(&self, faults: &Faults) -> Running {
        let layers = ground().registry.layers("team/sample", "cache");
        for (layer, _) in &layers {
            faults.always(&format!("GET {layer}"), Fault::StallAfter(1_000));
        }
        let donor = format!("{}/team/sample:cache", faults.address());
        let running = self.world.warm().from([&donor]).builder(&self.address()).start();
        wait_until("a blob is on its way", 60, || {
            layers.iter().any(|(layer, _)| !faults.requests(&format!("GET {layer}")).is_empty())
        });
        running
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in [self.name.clone(), format!("buildx_buildkit_{}0", self.name)] {
            if self.docker.has(&name) {
                self.docker.docker(&["rm", "--force", "--volumes", &name]);
            }
        }
    }
}

/// `docker buildx create` names the first node of its builder so, and gives it a volume.
#[test]
fn a_builder_of_buildx_is_found_by_its_name_and_read_where_its_volume_is() {
    let place = Place::new();
    let container = format!("buildx_buildkit_{}0", place.name);
    let volume = format!("{container}_state");
    place.docker.run_builder(&container, Some(&volume), &place.world.config());

    let run = place.world.warm().without_root().builder(&place.address()).run().ends_warm();

    assert_eq!(run.reports("/builder/address"), format!("docker-container://{container}"));
    let there = place.docker.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]);
    assert_eq!(run.reports("/builder/state_root"), there);
    assert!(place.docker.has(&container), "somebody's container is gone");
}

#[test]
fn a_container_that_keeps_its_root_to_itself_is_warm_by_its_own_word() {
    let place = Place::new();
    place.docker.run_image(&place.name, None, &place.world.config(), &[IMAGE, "--root", "/state"]);

    let run = place.world.warm().without_root().builder(&place.address()).run().exits(0);

    assert_eq!((run.reports("/verdict"), run.reports("/layers")), ("warm".into(), serde_json::Value::Null));
    assert_eq!((run.reports("/proof/on"), run.reports("/proof/ran")), ("builder".into(), [0; 0].into()));
    assert!(run.stdout.contains("keeps its state root /state to itself"), "{}", run.stdout);
}

#[test]
fn a_container_that_is_no_running_buildkitd_is_named() {
    let place = Place::new();
    let run = || place.world.warm().builder(&place.address()).run();
    place.docker.run_image(&place.name, None, &place.world.config(), &["busybox:1.35", "sleep", "3600"]);
    run().blames(&[&place.name, "buildctl", "executable file not found"]);

    place.docker.docker(&["kill", &place.name]);
    run().blames(&[&format!("the container {} is there and does not run", place.name), "docker start"]);
    assert!(place.docker.has(&place.name));
}

#[test]
fn an_image_that_cannot_be_had_or_is_no_buildkit_is_named() {
    let place = Place::new();
    let with = |image: &str| place.world.warm().builder(&place.address()).with(["--buildkit-image", image]).run();
    with("127.0.0.1:1/moby/buildkit:v1").blames(&["could not pull the builder's image 127.0.0.1:1/moby/buildkit:v1"]);
    with("moby/buildkit:absent").blames(&["could not pull the builder's image", "--buildkit-image"]);
    with("busybox:1.35").blames(&["busybox:1.35", "--config"]);
    with("Not An Image").exits(2);
    assert!(!place.docker.has(&place.name));
    place.world.left_nothing_running();
}

#[test]
fn a_buildkitd_that_ends_at_its_start_is_quoted_and_its_container_is_gone() {
    let place = Place::new();
    let config = fs::read_to_string(place.world.config()).unwrap();
    fs::write(place.world.config(), config + "[worker.oci]\n  snapshotter = \"flux-capacitor\"\n").unwrap();
    place.world.warm().builder(&place.address()).run().blames(&["ended at its start", "flux-capacitor"]);
    assert!(!place.docker.has(&place.name));
}

#[test]
fn the_image_is_pulled_with_the_login_of_its_registry() {
    let place = Place::new();
    let data = crate::support::ground::data();
    let registry = Registry::behind_login(&place.world.path("registry"), &data, "opensesame");
    let image = format!("{}/moby/buildkit:buildx-stable-1", registry.address());
    let warm = || place.world.warm().builder(&place.address()).with(["--buildkit-image", &image]).run();
    warm().blames(&["could not pull the builder's image", "login"]);

    // printf AWS:opensesame | base64
    let auths = json!({ "auths": { registry.address().to_string(): { "auth": "QVdTOm9wZW5zZXNhbWU=" } } });
    fs::create_dir_all(place.world.path("home/.docker")).unwrap();
    fs::write(place.world.path("home/.docker/config.json"), auths.to_string()).unwrap();
    warm().ends_warm();
}

#[test]
fn a_root_that_another_daemon_holds_is_left_alone() {
    let place = Place::new();
    let builder = Builder::start(&place.world.path("daemon"), &place.world.root(), &place.world.config());
    place.world.warm().builder(&place.address()).run().blames(&[&place.root(), "in use by another buildkitd"]);
    assert!(!place.docker.has(&place.name));
    drop(builder);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_and_not_by_others() {
    let place = Place::new();
    let faults = Faults::before(ground().registry.address());
    let running = place.held(&faults);
    let run = place.world.warm().builder(&place.address()).run();
    run.blames(&[&format!("the run of cachewarm that is process {}", running.id())]);

    running.signal("KILL");
    assert_eq!(running.ends().code, None);
    assert!(place.docker.has(&place.name), "Docker goes on");

    let run = place.world.warm().builder(&place.address()).run().ends_warm();
    assert!(run.stderr.contains("which a run that was killed left"), "{}", run.stderr);
    assert!(!place.docker.has(&place.name));
}

#[test]
fn a_builder_that_is_to_stay_stays_and_is_found_again() {
    let place = Place::new();
    let keep = ["--keep-builder", "--builder-restart", "on-failure:3"];
    place.world.warm().builder(&place.address()).with(keep).run().ends_warm();
    let policy = "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.State.Status}}";
    assert_eq!(place.docker.docker(&["inspect", "--format", policy, &place.name]), "on-failure:3 running");

    // Whoever names another root means another builder.
    fs::create_dir(place.world.path("another")).unwrap();
    let another = place.world.path("another").display().to_string();
    let run = place.world.warm().without_root().builder(&place.address()).with(["--root", &another]).run().exits(2);
    assert!(run.stderr.contains(&place.root()) && run.stderr.contains(&another), "{}", run.stderr);

    let run = place.world.warm().without_root().builder(&place.address()).run().ends_warm();

    assert_eq!((run.reports("/transfer/blobs"), run.reports("/builder/state_root")), (0.into(), place.root().into()));
    assert!(place.docker.has(&place.name));
}

#[test]
fn auto_makes_a_container_when_there_is_nothing_else_and_says_what_it_passed_over() {
    let place = Place::new();
    let run = place.world.warm().builder("auto").run().ends_warm();
    assert_eq!(run.reports("/builder/address"), "docker-container://cachewarm");
    for words in ["a container of Docker", "because --root was given", "no buildkitd in PATH"] {
        assert!(run.stderr.contains(words), "no `{words}` in {}", run.stderr);
    }
    assert!(!place.docker.has("cachewarm"));
}

#[test]
fn docker_is_found_as_dockers_own_client_finds_it() {
    let mut place = Place::new();
    place.world.unset("DOCKER_HOST");
    let folder = place.world.path("home/.docker");
    fs::create_dir_all(&folder).unwrap();
    let host = format!("host={}", place.docker.host());
    let mut create = std::process::Command::new("/usr/bin/docker");
    create.env("DOCKER_CONFIG", &folder).args(["context", "create", "ours", "--docker", &host]);
    assert!(create.output().unwrap().status.success());
    place.world.set("DOCKER_CONTEXT", "ours");
    place.world.warm().builder(&place.address()).run().ends_warm();

    place.world.set("DOCKER_CONTEXT", "theirs");
    let run = place.world.warm().builder(&place.address()).run().exits(2);
    assert!(run.stderr.contains("the docker context `theirs`"), "{}", run.stderr);
    for (host, words) in [
        ("unix:///nowhere/docker.sock", "could not reach Docker at unix:///nowhere/docker.sock"),
        ("tcp://127.0.0.1:1", "could not reach Docker at tcp://127.0.0.1:1"),
    ] {
        place.world.set("DOCKER_HOST", host);
        place.world.warm().builder("docker").run().blames(&[words, "DOCKER"]);
        place.world.unset("DOCKER_HOST");
    }
    for (host, words) in [("ssh://build@host", "over ssh"), ("tcp://docker.example:2375", "without TLS")] {
        place.world.set("DOCKER_HOST", host);
        let run = place.world.warm().builder("docker").run().exits(2);
        assert!(run.stderr.contains(words), "{}", run.stderr);
        place.world.unset("DOCKER_HOST");
    }
}

#[test]
fn docker_on_tcp_and_we_show_each_other_who_we_are() {
    let mut place = Place::new();
    let authority = Authority::new(place.world.path("tls"));
    authority.vouch("daemon", "IP:127.0.0.1", 2);
    authority.vouch("cert", "DNS:client", 2);
    fs::rename(authority.file("cert.key"), authority.file("key.pem")).unwrap();
    let address = free_address();
    let tls = [("tlscacert", "ca.pem"), ("tlscert", "daemon.pem"), ("tlskey", "daemon.key")];
    let mut more = vec!["--tlsverify".to_owned(), format!("--host=tcp://{address}")];
    more.extend(tls.map(|(flag, file)| format!("--{flag}={}", authority.file(file))));
    let folder = place.world.path("docker");
    let _docker = Docker::start_with(&folder, Version::V20, ground().registry.address(), more);
    place.world.set("DOCKER_HOST", &format!("tcp://{address}"));

    place.world.warm().builder("docker").run().blames(&["HTTPS server"]);
    place.world.set("DOCKER_TLS_VERIFY", "1");
    place.world.set("DOCKER_CERT_PATH", place.world.path("tls").to_str().unwrap());
    place.world.warm().builder(&place.address()).run().ends_warm();
    let run =
        place.world.warm().without_root().builder("docker").with(["--network", "none", "--min-hit-rate", "0"]).run();
    assert_eq!(run.exits(0).reports("/verdict"), "warm");

    let stranger = Authority::new(place.world.path("stranger"));
    fs::copy(stranger.file("ca.pem"), authority.file("ca.pem")).unwrap();
    place.world.warm().builder("docker").run().blames(&["invalid peer certificate", "DOCKER_CERT_PATH"]);
}

/// Its socket speaks Docker's API; a BuildKit of its own it has not.
#[test]
fn podman_has_a_container_made_and_is_refused_as_a_builder_itself() {
    let mut place = Place::new();
    let mut service = podman::start(&place.world.path("podman"));
    place.world.set("DOCKER_HOST", &podman::host(&place.world.path("podman")));

    let run = place.world.warm().builder(&place.address()).run().ends_warm();

    assert!(run.stderr.contains("by Podman 4."), "{}", run.stderr);
    assert_eq!(podman::containers(&place.world.path("podman")), "[]\n");
    place.world.warm().builder("docker").run().blames(&["Podman has none"]);
    service.kill();
}
