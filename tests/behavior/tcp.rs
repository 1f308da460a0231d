//! A builder on TCP: in the clear on this machine, or with TLS from both sides.

use std::net::SocketAddr;
use std::path::Path;

use crate::support::calls::Invocation;
use crate::support::ground::tool;
use crate::support::process::command;
use crate::support::registry::free_address;
use crate::support::{Authority, Builder, World};

/// A daemon that listens on TCP as well, with further arguments.
pub(crate) fn listening(world: &World, root: &Path, more: &[&str]) -> (Builder, SocketAddr) {
    let address = free_address();
    let mut daemon = command(tool("BUILDKITD"));
    daemon.arg(format!("--addr=tcp://{address}")).args(more);
    (Builder::started_by(daemon, &world.path("daemon"), root, &world.config()), address)
}

fn warm_at<'w>(world: &'w World, address: &str, flags: &[(&str, String)]) -> Invocation<'w> {
    let start = world.warm().builder(&format!("tcp://{address}"));
    flags.iter().fold(start, |run, (flag, value)| run.with([flag, value]))
}

#[test]
fn a_builder_on_this_machine_needs_no_tls() {
    let world = World::new();
    let (_builder, address) = listening(&world, &world.root(), &[]);

    let run = warm_at(&world, &address.to_string(), &[]).run().ends_warm();

    assert_eq!(
        (run.reports("/builder/kind"), run.reports("/builder/address")),
        ("tcp".into(), format!("tcp://{address}").into())
    );
}

/// The state root is another machine's: the builder's word is enough, unless a root is named that is not its own.
#[test]
fn a_builder_whose_root_is_not_here_is_asked_itself() {
    let world = World::new();
    let (_builder, address) = listening(&world, &world.path("elsewhere"), &[]);

    let run = warm_at(&world, &address.to_string(), &[]).run().exits(5);

    assert_eq!((run.reports("/verdict"), run.reports("/layers")), ("not-verified".into(), serde_json::Value::Null));
    world.check(&world.path("elsewhere"), &[]).exits(0);
    let run = warm_at(&world, &address.to_string(), &[]).without_root().run().exits(0);
    assert_eq!((run.reports("/verdict"), run.reports("/proof/on")), ("warm".into(), "builder".into()));
}

#[test]
fn with_tls_both_sides_show_who_they_are() {
    let world = World::new();
    let authority = Authority::new(world.path("tls"));
    authority.vouch("daemon", "IP:127.0.0.1", 2);
    authority.vouch("client", "DNS:client", 2);
    let (ca, cert, key) = (authority.file("ca.pem"), authority.file("daemon.pem"), authority.file("daemon.key"));
    let tls = ["--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let (_builder, address) = listening(&world, &world.root(), &tls);
    let flags = [
        ("--tlscacert", ca.clone()),
        ("--tlscert", authority.file("client.pem")),
        ("--tlskey", authority.file("client.key")),
    ];

    warm_at(&world, &address.to_string(), &flags).run().ends_warm();

    let stranger = Authority::new(world.path("stranger"));
    stranger.vouch("client", "DNS:client", 2);
    let [_, cert, key] = flags.clone();
    let at = |flags: &[(&str, String)]| warm_at(&world, &address.to_string(), flags).run();
    at(&flags[..1]).blames(&["could not talk to the builder", "--tlscert and --tlskey"]);
    let stranger_ca = ("--tlscacert", stranger.file("ca.pem"));
    at(&[stranger_ca, cert.clone(), key.clone()]).blames(&["invalid peer certificate", "--tlscacert"]);
    let wrong_name = ("--tlsservername", "builder.example".to_owned());
    at(&[flags.to_vec(), vec![wrong_name]].concat()).blames(&["not valid for name", "--tlsservername"]);
    let (strange_cert, strange_key) =
        (("--tlscert", stranger.file("client.pem")), ("--tlskey", stranger.file("client.key")));
    at(&[flags[0].clone(), strange_cert, strange_key]).blames(&["could not talk to the builder", "--tlscert"]);
    at(&[]).blames(&[&format!("tcp://{address}")]);
    at(&[flags[0].clone(), cert]).exits(2);
    assert_eq!(world.steps_run(), Vec::<String>::new());
}

#[test]
fn a_certificate_that_has_expired_is_named_and_so_is_a_daemon_without_tls() {
    let world = World::new();
    let authority = Authority::new(world.path("tls"));
    authority.vouch("daemon", "IP:127.0.0.1", -1);
    let (ca, cert, key) = (authority.file("ca.pem"), authority.file("daemon.pem"), authority.file("daemon.key"));
    let (builder, address) = listening(&world, &world.root(), &["--tlscert", &cert, "--tlskey", &key]);
    let flags = [("--tlscacert", ca)];
    warm_at(&world, &address.to_string(), &flags).run().blames(&["has expired"]);
    drop(builder);

    warm_at(&world, &address.to_string(), &flags).run().blames(&["could not reach the builder", "listens there"]);
    let (_plain, address) = listening(&world, &world.root(), &[]);
    warm_at(&world, &address.to_string(), &flags).run().blames(&["without TLS there", "--tls"]);
}
