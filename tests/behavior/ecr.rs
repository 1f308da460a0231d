//! AWS: tokens that are had without being asked for, and tokens that are not.

use crate::support::ecr::{HOST, PASSWORD};
use crate::support::judge::changed;
use crate::support::{Ecr, Fault, World, ground};

#[test]
fn an_ecr_host_is_logged_in_to_through_awss_api() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);

    world.warm().from([&ecr.donor()]).run().ends_warm();

    assert!(!ecr.api.requests("POST /").is_empty());
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
}

#[test]
fn a_token_is_asked_for_once() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    ecr.api.always("POST /", Ecr::token(PASSWORD));

    world.warm().from([&ecr.donor()]).run().ends_warm();

    assert_eq!(ecr.api.requests("POST /").len(), 1);
}

#[test]
fn a_token_the_registry_does_not_take_stops_everything() {
    let mut world = World::new();
    let ecr = Ecr::taking(&mut world, "another-password");
    world.warm().from([&ecr.donor()]).run().blames(&[HOST, "hint:"]);
    world.built_nothing();
}

#[test]
fn a_token_that_has_expired_stops_everything() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    ecr.front.always("/v2/", Ecr::expired());
    world.warm().from([&ecr.donor()]).run().blames(&[HOST, "expired"]);
    world.built_nothing();
}

#[test]
fn a_token_that_expires_midway_never_passes_for_warm() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    for (layer, _) in ground().registry.layers("team/sample", "cache").iter().take(3) {
        ecr.front.always(&format!("GET {layer}"), Ecr::expired());
    }

    world.warm().from([&ecr.donor()]).run().fails();

    assert_eq!(world.steps_run(), Vec::<String>::new(), "a step ran because of a bad token");
    world.left_nothing_running();
    ecr.front.behave();
    world.warm().from([&ecr.donor()]).run().ends_warm();
}

#[test]
fn a_role_that_may_not_have_tokens_stops_everything() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    let message =
        "User: arn:aws:sts::123456789012:assumed-role/ci/i-0 is not authorized to perform: ecr:GetAuthorizationToken";
    ecr.api.always("POST /", Ecr::refusal("AccessDeniedException", message));
    world.warm().from([&ecr.donor()]).run().blames(&[HOST, "ecr:GetAuthorizationToken"]);
    world.built_nothing();
}

#[test]
fn a_throttled_api_is_asked_again() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    ecr.api.times(2, "POST /", Ecr::refusal("ThrottlingException", "Rate exceeded"));
    world.warm().from([&ecr.donor()]).run().ends_warm();
}

#[test]
fn an_api_that_only_throttles_stops_everything() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    ecr.api.always("POST /", Ecr::refusal("ThrottlingException", "Rate exceeded"));
    world.warm().from([&ecr.donor()]).run().blames(&[HOST, "Rate exceeded"]);
    world.built_nothing();
}

/// `docker login` of the host with this password.
fn logged_in(world: &World, password: &str) {
    use base64::Engine;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{password}"));
    std::fs::create_dir_all(world.path("home/.docker")).unwrap();
    let auths = serde_json::json!({ "auths": { HOST: { "auth": auth } } });
    std::fs::write(world.path("home/.docker/config.json"), auths.to_string()).unwrap();
}

#[test]
fn a_login_of_docker_comes_before_the_role() {
    let mut world = World::new();
    let ecr = Ecr::taking(&mut world, "of-a-person");
    logged_in(&world, "of-a-person");
    world.warm().from([&ecr.donor()]).run().ends_warm();
    assert!(ecr.api.requests("POST /").is_empty());
}

#[test]
fn where_the_login_of_docker_may_not_the_role_is_asked() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    logged_in(&world, "of-another-time");
    world.warm().from([&ecr.donor()]).run().ends_warm();
    assert!(!ecr.api.requests("POST /").is_empty());
}

#[test]
fn where_neither_may_both_are_named() {
    let mut world = World::new();
    let ecr = Ecr::taking(&mut world, "of-nobody");
    logged_in(&world, "of-another-time");
    world.warm().from([&ecr.donor()]).run().blames(&["login of docker's configuration was refused", "that of AWS"]);
    world.unset("AWS_ACCESS_KEY_ID");
    world.unset("AWS_SECRET_ACCESS_KEY");
    let run = world.warm().from([&ecr.donor()]).run();
    run.blames(&["refused the login of docker's configuration", "there are no AWS credentials"]);
    world.built_nothing();
}

#[test]
fn no_aws_credentials_at_all_stop_everything() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    world.unset("AWS_ACCESS_KEY_ID");
    world.unset("AWS_SECRET_ACCESS_KEY");
    world.warm().from([&ecr.donor()]).run().blames(&[HOST, "hint:"]);
    world.built_nothing();
}

/// The proxy is nobody's: what goes to it gets no answer.
#[test]
fn the_role_of_the_instance_is_asked_for_directly_and_not_by_the_proxy() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"] {
        world.unset(name);
    }
    world.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &format!("http://{}", ecr.api.address()));
    for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
        world.set(name, "http://127.0.0.1:1");
    }
    world.set("NO_PROXY", HOST);
    // Moto's metadata service does not say how long its tokens live.
    let token = Fault::Answer(200, "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", "token".into());
    ecr.api.always("PUT /latest/api/token", token);

    world.warm().from([&ecr.donor()]).run().ends_warm();

    assert!(!ecr.api.requests("GET /latest/meta-data/iam/security-credentials/").is_empty());
}
