//! Registries as dockerd has them configured: what its own BuildKit can reach, cachewarm reaches by the same files.

use std::fs;

use crate::support::docker::Version;
use crate::support::ground::{CACHE, data};
use crate::support::{Authority, Docker, Registry, Run, World, ground};

#[test]
fn a_private_registry_is_reached_by_what_dockerd_knows() {
    let mut world = World::new();
    let etc = world.own_etc();
    fs::write(etc.join("hosts"), "127.0.0.1 localhost\n127.0.0.1 team.example plain.example dark.example\n").unwrap();
    let authority = Authority::new(world.path("tls"));
    authority.vouch("registry", "DNS:team.example,DNS:dark.example", 2);
    authority.vouch("client", "DNS:client", 2);
    let secure = Registry::with_tls(&world.path("secure"), &data(), &authority);
    let port = secure.address().port();
    let certificates = etc.join(format!("docker/certs.d/team.example:{port}"));
    fs::create_dir_all(&certificates).unwrap();
    for (file, name) in [("ca.pem", "ca.crt"), ("client.pem", "client.cert"), ("client.key", "client.key")] {
        fs::copy(authority.file(file), certificates.join(name)).unwrap();
    }
    let plain = format!("plain.example:{}", ground().registry.address().port());
    let more = vec![format!("--insecure-registry={plain}")];
    let docker = Docker::start_in(&world.path("docker"), Version::V29, ground().registry.address(), more, Some(etc));
    world.set("DOCKER_HOST", &docker.host());
    let context = world.path("project");
    crate::support::git::sample(&context);
    let warm = |builder: &str, host: &str| -> Run {
        let cache = format!("{host}/{}:{}", CACHE.0, CACHE.1);
        world.warm().without_root().builder(builder).from([&cache]).source([context.to_str().unwrap()]).run()
    };

    for (builder, host) in [("docker", format!("team.example:{port}")), ("auto", plain)] {
        let run = warm(builder, &host).exits(0);

        assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("warm".into(), 1.0.into()));
        docker.docker(&["builder", "prune", "--all", "--force"]);
    }
    let dark = format!("dark.example:{port}");
    warm("docker", &dark).blames(&["cannot use the cache", &format!("/etc/docker/certs.d/{dark}")]);
}
