//! Source policies, by which BuildKit refuses the sources of a build or exchanges them: each is honoured, so that buildx finds
//! everything on the root that we warmed, or refused. None is passed over.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::docker::Version;
use crate::support::git::git;
use crate::support::registry::{digest_of, made};
use crate::support::{Docker, GitServer, Run, World, ground};

const VARIABLE: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";
const BASE: &str = "docker-image://docker.io/library/busybox:1.35";
/// What is made of the base, whichever that is.
const STEPS: &str = "COPY Dockerfile /d\nRUN cat /d >/e\n";

fn project(world: &World, dockerfile: &str) -> PathBuf {
    let project = world.path("project");
    fs::create_dir_all(&project).unwrap();
    fs::write(project.join("Dockerfile"), dockerfile).unwrap();
    project
}

/// Has the surroundings name a policy with these rules.
fn policy(world: &mut World, rules: Value) {
    let file = world.path("policy.json");
    fs::write(&file, json!({"version": 1, "rules": rules}).to_string()).unwrap();
    world.unset(VARIABLE);
    world.set(VARIABLE, file.to_str().unwrap());
}

fn convert(from: &str, kind: &str, to: &str) -> Value {
    json!({"action": "CONVERT", "selector": {"identifier": from, "match_type": kind}, "updates": {"identifier": to}})
}

/// Another image with the same layers, and its digest.
fn other_image() -> String {
    let registry = &ground().registry;
    let mut manifest = registry.manifest("library/busybox", "1.35");
    manifest["annotations"] = json!({"of": "policies"});
    registry.put_manifest("library/busybox", "policies", &manifest);
    digest_of(manifest.to_string().as_bytes())
}

fn warmed(world: &World, project: &Path) -> Run {
    world.warm().source(["--context", project.to_str().unwrap()]).from([]).run()
}

/// Warms the project under the policy, on a root that has seen nothing; buildx finds everything there under the same policy,
/// and so does smoke.
fn is_honoured(world: &mut World, project: &Path) {
    is_honoured_with(world, project, &[]);
}

/// The same of a project with sources that every build asks for, and shows by the name of their step.
fn is_honoured_with(world: &mut World, project: &Path, asked: &[&str]) {
    let _ = fs::remove_dir_all(world.root());
    warmed(world, project).exits(0);
    let run = world.smoke(&world.root(), project, &[]).exits(0);
    assert_eq!(run.reports("/hit_rate"), 1.0, "{}", run.stdout);
    let judged = world.judged_by_buildx(&world.root(), project, &[], "");
    judged.ran_only(asked);
    world.unset(VARIABLE);
}

/// The same project without the policy is another build: it fails, or runs its steps.
fn is_another_build_without(world: &World, project: &Path) {
    let built = world.built_by_buildx(&world.root(), project, &[], "");
    if built.0.status.success() {
        assert_ne!(crate::support::judge::Judged::of(&built).ran, Vec::<String>::new());
    }
    assert_ne!(world.smoke(&world.root(), project, &[]).code, Some(0));
}

#[test]
fn an_image_that_is_pinned_or_exchanged_is_the_one_that_is_warmed() {
    let mut world = World::new();
    let digest = other_image();
    let base = project(&world, &format!("FROM busybox:1.35\n{STEPS}"));
    let pinned = format!("docker-image://docker.io/library/busybox@{digest}");
    policy(&mut world, json!([convert(BASE, "EXACT", &pinned)]));
    is_honoured(&mut world, &base);
    is_another_build_without(&world, &base);

    policy(&mut world, json!([convert(BASE, "EXACT", "docker-image://docker.io/library/busybox:policies")]));
    is_honoured(&mut world, &base);
    is_another_build_without(&world, &base);

    // Neither of these images exists.
    let gone = project(
        &world,
        &format!("FROM gone:1.35 AS a\n{STEPS}FROM went.example/x/away:1.35\n{STEPS}COPY --from=a /e /f\n"),
    );
    let wildcard = convert("docker-image://docker.io/library/gone:*", "WILDCARD", &BASE.replace("1.35", "${1}"));
    let regex = convert(r"^docker-image://went\.example/(?:.*):([0-9.]+)(@.*)?$", "REGEX", &BASE.replace("1.35", "$1"));
    policy(&mut world, json!([wildcard, regex]));
    is_honoured(&mut world, &gone);
    is_another_build_without(&world, &gone);
}

#[test]
fn a_policy_of_a_flag_is_that_of_the_variable() {
    let mut world = World::new();
    other_image();
    let project = project(&world, &format!("FROM busybox:1.35\n{STEPS}"));
    policy(&mut world, json!([convert(BASE, "EXACT", "docker-image://docker.io/library/busybox:policies")]));
    world.unset(VARIABLE);
    let run = world.warm().source(["--context", project.to_str().unwrap()]).from([]);
    let run = run.with(["--source-policy", "policy.json"]).run().exits(0);
    assert!(run.reports("/verdict") == "warm", "{}", run.stdout);
    world.smoke(&world.root(), &project, &["--source-policy", "policy.json"]).exits(0);
    // A miss is told what is another one.
    let run = world.smoke(&world.root(), &project, &[]).exits(5);
    let steps = run.reports("/steps").to_string();
    assert!(steps.contains("the source policy is another one as well"), "{steps}");
    world.set(VARIABLE, world.path("policy.json").to_str().unwrap());
    let judged = world.judged_by_buildx(&world.root(), &project, &[], "");
    assert_eq!((judged.ran, judged.fetched), (vec![], vec![]));
}

#[test]
fn downloads_and_repositories_are_exchanged_before_anything_is_asked_of_them() {
    let mut world = World::new();
    let web = world.path("web");
    let repository = web.join("r.git");
    fs::create_dir_all(&repository).unwrap();
    fs::write(web.join("file"), "a file\n").unwrap();
    git(&repository, ["init", "-q", "-b", "main"]);
    for branch in ["main", "other"] {
        git(&repository, ["checkout", "-q", "-B", branch]);
        fs::write(repository.join("page"), branch).unwrap();
        git(&repository, ["add", "-A"]);
        git(&repository, ["commit", "-q", "-m", branch]);
    }
    let server = GitServer::of(&web);
    let url = format!("http://{}/file", server.address());
    let downloads = project(&world, &format!("FROM busybox:1.35\nADD {url} /f\nRUN cat /f >/g\n"));
    let checksum = json!({"http.checksum": digest_of(b"a file\n")});
    let rule = json!({"action": "CONVERT", "selector": {"identifier": url}, "updates": {"attrs": checksum}});
    policy(&mut world, json!([&rule]));
    is_honoured_with(&mut world, &downloads, &["2/3"]);
    let mut wrong = rule;
    wrong["updates"]["attrs"]["http.checksum"] = digest_of(b"another file\n").into();
    policy(&mut world, json!([wrong]));
    assert!(!world.built_by_buildx(&world.root(), &downloads, &[], "").0.status.success());
    warmed(&world, &downloads).fails();
    let rule = json!({"action": "CONVERT", "selector": {"identifier": "http://gone.example/*"},
                      "updates": {"identifier": format!("http://{}/${{1}}", server.address()), "attrs": checksum}});
    let gone = project(&world, "FROM busybox:1.35\nADD http://gone.example/file /f\nRUN cat /f >/g\n");
    policy(&mut world, json!([rule]));
    is_honoured_with(&mut world, &gone, &["2/3"]);
    is_another_build_without(&world, &gone);

    let cloned = server.repository("r.git");
    let clones = project(&world, &format!("FROM busybox:1.35\nADD {cloned}#main /r\nRUN cat /r/page >/p\n"));
    policy(&mut world, json!([convert("git://*/r.git#main", "WILDCARD", "git://${1}/r.git#other")]));
    is_honoured_with(&mut world, &clones, &["2/3"]);
    is_another_build_without(&world, &clones);
}

#[test]
fn the_frontend_of_a_syntax_line_is_exchanged_as_well() {
    let mut world = World::new();
    let project = project(&world, &format!("# syntax=docker/dockerfile:0-gone\nFROM busybox:1.35\n{STEPS}"));
    let gone = "docker-image://docker.io/docker/dockerfile:0-gone";
    policy(&mut world, json!([convert(gone, "EXACT", &gone.replace("0-gone", "1"))]));
    is_honoured(&mut world, &project);
    is_another_build_without(&world, &project);
}

#[test]
fn what_a_policy_denies_is_denied_and_what_it_allows_again_is_not() {
    let mut world = World::new();
    let web = world.path("web");
    fs::create_dir_all(&web).unwrap();
    fs::write(web.join("file"), "a file\n").unwrap();
    let server = GitServer::of(&web);
    let url = format!("http://{}/file", server.address());
    let project = project(&world, &format!("FROM busybox:1.35\nADD {url} /f\n{STEPS}"));
    let deny = |what: &str| json!({"action": "DENY", "selector": {"identifier": what}});
    for denied in ["docker-image://*", &url, "local://context"] {
        policy(&mut world, json!([deny(denied)]));
        let built = world.built_by_buildx(&made(world.path("empty")), &project, &[], "");
        assert!(built.text().contains("denied by policy"), "{}", built.text());
        for run in [warmed(&world, &project), world.smoke(&world.root(), &project, &[])] {
            let run = run.exits(4);
            assert!(
                run.stderr.contains("denied by policy") && run.stderr.contains("--source-policy"),
                "{}",
                run.stderr
            );
        }
    }
    policy(
        &mut world,
        json!([deny("docker-image://*"), {"action": "ALLOW", "selector": {"identifier": format!("{BASE}*")}}]),
    );
    is_honoured_with(&mut world, &project, &["2/4"]);
}

#[test]
fn a_policy_that_cannot_be_understood_is_refused() {
    let mut world = World::new();
    let project = project(&world, &format!("FROM busybox:1.35\n{STEPS}"));
    let file = world.path("policy.json");
    world.set(VARIABLE, file.to_str().unwrap());
    let refused = |text: Option<&str>| {
        text.iter().for_each(|text| fs::write(&file, text).unwrap());
        let run = warmed(&world, &project).exits(2);
        assert!(run.stderr.contains(&format!("policy.json ({VARIABLE})")), "{}", run.stderr);
        run.stderr
    };
    refused(None);
    assert!(refused(Some("{\"rules\": [{\"action\": \"DENY\"")).contains("JSON"));
    assert!(refused(Some("package docker\nallow := true\n")).contains("neither in JSON nor in protobuf"));
    assert!(refused(Some(r#"{"rules": [{"action": "PIN", "selector": {"identifier": "*"}}]}"#)).contains("PIN"));
    let misspelt = r#"{"rules": [{"action": "DENY", "selector": {"identifier": ".*", "matchType": "REGEX"}}]}"#;
    assert!(refused(Some(misspelt)).contains("unknown field `matchType`"));
    assert!(!world.root().exists());
}

#[test]
fn a_policy_in_rego_is_refused_unless_it_is_off() {
    let world = World::new();
    let project = project(&world, &format!("FROM busybox:1.35\n{STEPS}"));
    let rego = project.join("Dockerfile.rego");
    let pin = format!("allow if pin_image(input.image, \"{}\")", other_image());
    for rule in ["default allow := true", "default allow := false", &pin] {
        fs::write(&rego, format!("package docker\n{rule}\ndecision := {{\"allow\": allow}}\n")).unwrap();
        for run in [warmed(&world, &project), world.smoke(&world.root(), &project, &[])] {
            let run = run.exits(2);
            assert!(run.stderr.contains("Dockerfile.rego lies beside its Dockerfile"), "{}", run.stderr);
        }
    }
    let bake = |policy: &str| {
        let bake = world.path("bake.json");
        let context = project.to_str().unwrap();
        fs::write(&bake, format!(r#"{{"target": {{"default": {{"context": "{context}"{policy}}}}}}}"#)).unwrap();
        world.warm().source(["--bake", bake.to_str().unwrap()]).from([])
    };
    bake("").run().exits(2);
    let given = r#", "policy": [{"Files": [{"Filename": "p.rego"}]}]"#;
    let run = bake(given).run().exits(2);
    assert!(run.stderr.contains("it has a `policy`"), "{}", run.stderr);

    let off = ["--policy", "disabled=true"];
    bake(given).with(off).run().exits(0);
    let judged = world.judged_by_buildx(&world.root(), &project, &off, "");
    assert_eq!((judged.ran, judged.fetched), (vec![], vec![]));
    bake(r#", "policy": [{"Files": null, "Disabled": true}]"#).with(["--on-miss", "fail"]).run().exits(0);
    world.smoke(&world.root(), &project, &off).exits(0);
    world.smoke(&world.root(), &project, &["--policy", "strict=true"]).exits(2);
}

#[test]
fn a_policy_in_a_repository_that_the_builder_fetches_is_refused() {
    let world = World::new();
    let web = world.path("web");
    let repository = web.join("r.git");
    fs::create_dir_all(repository.join("docker")).unwrap();
    fs::write(repository.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    fs::write(repository.join("docker/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    fs::write(repository.join("docker/Dockerfile.rego"), "package docker\ndefault allow := true\n").unwrap();
    git(&repository, ["init", "-q", "-b", "main"]);
    git(&repository, ["add", "-A"]);
    git(&repository, ["commit", "-q", "-m", "all"]);
    let server = GitServer::of(&web);
    let url = format!("{}#main", server.repository("r.git"));
    world.warm().source([&url]).from([]).run().exits(0);
    for (source, file) in [(format!("{url}:docker"), "Dockerfile"), (url, "docker/Dockerfile")] {
        let run = world.warm().source([&source, "--file", file]).from([]).run().exits(2);
        assert!(run.stderr.contains("Dockerfile.rego lies beside its Dockerfile"), "{}", run.stderr);
        world.warm().source([&source, "--file", file, "--policy", "disabled=true"]).from([]).run().exits(0);
    }
}

#[test]
fn older_builders_honour_a_policy_too_also_while_they_run() {
    let mut world = World::older();
    let base = project(&world, &format!("FROM gone:1.35\n{STEPS}"));
    policy(
        &mut world,
        json!([convert("docker-image://docker.io/library/gone:*", "WILDCARD", &BASE.replace("1.35", "${1}"))]),
    );
    is_honoured(&mut world, &base);
    is_another_build_without(&world, &base);

    policy(
        &mut world,
        json!([convert("docker-image://docker.io/library/gone:*", "WILDCARD", &BASE.replace("1.35", "${1}"))]),
    );
    let root = world.path("other-root");
    let daemon = world.daemon(&world.path("daemon"), &root, &world.config());
    let run =
        world.warm().source(["--context", base.to_str().unwrap()]).from([]).builder(&daemon.address()).without_root();
    run.run().exits(0);
    world.smoke_with(&base, &["--builder", &daemon.address()]).exits(0);
    let judged = world.judged_by_buildx(&root, &base, &[], "");
    assert_eq!((judged.ran, judged.fetched), (vec![], vec![]));
}

/// An image that does not exist without the policy says whether it was applied.
#[test]
fn dockerd_honours_a_policy_or_is_too_old_for_one() {
    let mut world = World::new();
    let base = project(&world, &format!("FROM gone:1.35\n{STEPS}"));
    let gone = "docker-image://docker.io/library/gone:*";
    policy(&mut world, json!([convert(gone, "WILDCARD", &BASE.replace("1.35", "${1}"))]));
    for version in [Version::V29, Version::V20] {
        let folder = world.path(&format!("docker-{version:?}"));
        let docker = Docker::start(&folder, version, ground().registry.address());
        world.unset("DOCKER_HOST");
        world.set("DOCKER_HOST", &docker.host());
        let warm = world.warm().source(["--context", base.to_str().unwrap()]).from([]).builder("docker").without_root();
        let run = warm.with(["--network", "none"]).run();
        if version == Version::V20 {
            run.blames(&["too old", "source.policy"]);
        } else {
            run.exits(0);
            let run = world.smoke_with(&base, &["--builder", "docker", "--network", "none"]);
            assert_eq!(run.reports("/hit_rate"), 1.0, "{}", run.stdout);
        }
    }
}
