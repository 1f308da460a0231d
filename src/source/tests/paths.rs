//! Where the paths of a target lead.

use std::path::{Path, PathBuf};

use super::world::{World, explanation, obtained, try_obtain};
use crate::failure::Kind;
use crate::source::{SourceSpec, advice};
use crate::targets::{Context, Dockerfile, NamedContext, Target, flags};

fn target(context: impl Into<PathBuf>, dockerfile: Dockerfile) -> Target {
    let mut target = Target::new("web", Context::Local(context.into()));
    target.dockerfile = dockerfile;
    target
}

fn with_dockerfiles() -> World {
    let world = World::new();
    world.write("app/Dockerfile", "FROM scratch\n", 0o644);
    world.write("app/web/Dockerfile", "FROM scratch\n", 0o644);
    world.write("app/web/docker/own", "FROM scratch\n", 0o644);
    world.write("app/small/dockerfile", "FROM scratch\n", 0o644);
    world.shell("app", "ln -s /tmp out; ln -s web inside; git add .; git commit -qm dockerfiles", &[]);
    world
}

/// The resolved Dockerfile, below the root of its checkout.
fn dockerfile(spec: &SourceSpec, target: Target) -> String {
    let mut checkout = obtained(spec);
    let resolved = checkout.resolve(vec![target]).unwrap_or_else(|error| panic!("{error:#}"));
    match &resolved[0].dockerfile {
        Dockerfile::Path(Some(path)) => path.strip_prefix(&checkout.root).unwrap().display().to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dockerfile_is_found_where_docker_finds_it() {
    let world = with_dockerfiles();
    let path = |path: &str| Dockerfile::Path(Some(path.into()));
    for spec in [world.spec(None), SourceSpec::Directory(world.path("app"))] {
        assert_eq!(dockerfile(&spec, target(".", Dockerfile::Path(None))), "Dockerfile");
        assert_eq!(dockerfile(&spec, target("web", Dockerfile::Path(None))), "web/Dockerfile");
        assert_eq!(dockerfile(&spec, target("small", Dockerfile::Path(None))), "small/dockerfile");
        assert_eq!(dockerfile(&spec, target("web", Dockerfile::InContext("docker/own".into()))), "web/docker/own");
        assert_eq!(dockerfile(&spec, target("web", path("web/docker/own"))), "web/docker/own");
        assert_eq!(dockerfile(&spec, target("web", path("docker/own"))), "web/docker/own");
        assert_eq!(dockerfile(&spec, target("inside", Dockerfile::Path(None))), "web/Dockerfile");
    }
    // With -f it is the root's own, as docker would take it from the current directory.
    assert_eq!(dockerfile(&world.spec(None), target("web", path("Dockerfile"))), "Dockerfile");
}

#[test]
fn an_inline_dockerfile_gets_a_file_of_its_own() {
    let world = with_dockerfiles();
    let mut checkout = obtained(&world.spec(None));
    let inline = |text: &str| target(".", Dockerfile::Inline(text.to_owned()));
    let resolved = checkout.resolve(vec![inline("FROM a"), inline("FROM b")]).unwrap();
    let paths = resolved.iter().map(|target| match &target.dockerfile {
        Dockerfile::Path(Some(path)) => path.clone(),
        other => panic!("{other:?}"),
    });
    let paths: Vec<PathBuf> = paths.collect();
    assert_eq!(
        paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<Vec<_>>(),
        ["FROM a", "FROM b"]
    );
    drop(checkout);
    assert!(!paths[0].exists());
}

#[test]
fn what_is_not_there_is_named_by_its_path_in_the_repository() {
    let world = with_dockerfiles();
    let mut checkout = obtained(&world.spec(None));
    let mut problem = |target: Target| {
        let (kind, text, _) = explanation(checkout.resolve(vec![target]));
        assert_eq!(kind, Kind::Usage);
        text
    };
    let text = problem(target("nope", Dockerfile::Path(None)));
    assert!(text.starts_with("could not find the context of target web: nope: "), "{text}");
    let text = problem(target("bin", Dockerfile::Path(None)));
    assert_eq!(text, "could not find the Dockerfile of target web: there is no bin/Dockerfile nor bin/dockerfile");
    let text = problem(target("web", Dockerfile::Path(Some("x/Own".into()))));
    assert!(text.contains("there is no x/Own nor web/x/Own"), "{text}");
    let text = problem(target("Dockerfile", Dockerfile::Path(None)));
    assert!(text.ends_with("Dockerfile is not a directory"), "{text}");
}

#[test]
fn nothing_of_a_repository_leads_out_of_it() {
    let world = with_dockerfiles();
    let mut checkout = obtained(&world.spec(None));
    let mut named = target(".", Dockerfile::Path(None));
    named.named_contexts.insert("etc".into(), NamedContext::Local("../../../../../../etc".into()));
    let escapes = [
        target("out", Dockerfile::Path(None)),
        target("..", Dockerfile::Path(None)),
        target("/etc", Dockerfile::Path(None)),
        target(".", Dockerfile::Path(Some("/etc/passwd".into()))),
        target(".", Dockerfile::InContext("../../../../../../../../etc/passwd".into())),
        named,
    ];
    for escape in escapes {
        let shown = format!("{escape:?}");
        let (kind, text, _) = explanation(checkout.resolve(vec![escape]));
        assert!(kind == Kind::Usage && text.contains("leads out of the repository"), "{shown}: {text}");
    }
}

#[test]
fn a_directory_s_contexts_may_lead_anywhere() {
    let world = with_dockerfiles();
    let mut checkout = obtained(&SourceSpec::Directory(world.path("app/web")));
    let mut target = target(".", Dockerfile::Path(None));
    target.named_contexts.insert("up".into(), NamedContext::Local("..".into()));
    let resolved = checkout.resolve(vec![target]).unwrap();
    let up = world.path("app").canonicalize().unwrap();
    assert_eq!(resolved[0].named_contexts["up"], NamedContext::Local(up));
}

#[test]
fn a_remote_context_keeps_its_dockerfile() {
    let world = with_dockerfiles();
    let mut remote = target(".", Dockerfile::InContext("docker/own".into()));
    remote.context = Context::Remote("https://example.com/a.git".into());
    let resolved = obtained(&world.spec(None)).resolve(vec![remote.clone()]).unwrap();
    assert_eq!(resolved, [remote]);
}

#[test]
fn rev_in_a_donor_becomes_the_full_commit() {
    let world = with_dockerfiles();
    world.write("plain/Dockerfile", "FROM scratch\n", 0o644);
    let mut target = target(".", Dockerfile::Path(None));
    target.donors = flags::cache_from("r.example/cache:{rev}").unwrap();
    let resolved = obtained(&world.spec(Some("main"))).resolve(vec![target.clone()]).unwrap();
    assert_eq!(resolved[0].donors[0].reference, format!("r.example/cache:{}", world.commit("app", "main")));
    let mut plain = obtained(&SourceSpec::Directory(world.path("plain")));
    let (kind, text, _) = explanation(plain.resolve(vec![target]));
    assert!(kind == Kind::Usage && text.contains("names {rev}, and"), "{text}");
}

#[test]
fn a_missing_directory_is_named() {
    let (kind, text, _) = explanation(try_obtain(&SourceSpec::Directory(Path::new("/no/such/place").into())));
    assert_eq!(kind, Kind::Usage);
    assert!(text.starts_with("could not use the context /no/such/place"), "{text}");
}

#[test]
fn advice_names_the_arg_nothing_takes() {
    let world = World::new();
    world.write("app/Dockerfile", "FROM scratch\nARG A\n", 0o644);
    let mut target = target(".", Dockerfile::Path(None));
    target.build_args = [("A".into(), "1".into()), ("VERSON".into(), "1".into())].into();
    let resolved = obtained(&SourceSpec::Directory(world.path("app"))).resolve(vec![target]).unwrap();
    assert_eq!(advice(&resolved), ["target web: no ARG of Dockerfile takes the build arg VERSON"]);
}
