//! Clones of directories: every kind of revision, submodules, errors.

use super::world::{World, any_file_has, at, explanation, obtained, seen, try_obtain};
use crate::event::Events;
use crate::failure::Kind;
use crate::source::obtain;

#[test]
fn every_kind_of_revision_is_found() {
    let world = World::new();
    let (first, second) = (world.commit("app", "v1"), world.commit("app", "main"));
    assert_ne!(first, second);
    for (rev, commit) in [
        (None, &second),
        (Some("main"), &second),
        (Some("side"), &first),
        (Some("v1"), &first),
        (Some("refs/tags/v1"), &first),
        (Some("v2"), &second),
        (Some(first.as_str()), &first),
        (Some(&first[..9]), &first),
        (Some(&second[..7]), &second),
    ] {
        let checkout = obtained(&world.spec(rev));
        assert_eq!(checkout.commit.as_ref(), Some(commit), "{rev:?}");
        let text = std::fs::read_to_string(checkout.root.join("text")).unwrap();
        assert_eq!(text, if *commit == first { "one" } else { "two" }, "{rev:?}");
    }
}

#[test]
fn a_file_url_is_a_repository_as_well() {
    let world = World::new();
    let checkout = obtained(&at(&format!("file://{}", world.path("app").display()), Some("v1"), None));
    assert_eq!(checkout.commit, Some(world.commit("app", "v1")));
}

#[test]
fn a_clone_is_removed_when_it_is_no_longer_needed() {
    let world = World::new();
    let checkout = obtained(&world.spec(None));
    let root = checkout.root.clone();
    assert!(root.join("text").exists());
    drop(checkout);
    assert!(!root.exists());
}

#[test]
fn an_unknown_revision_is_answered_with_similar_names() {
    let world = World::new();
    let (kind, text, hint) = explanation(try_obtain(&world.spec(Some("mian"))));
    assert_eq!(kind, Kind::Usage);
    assert!(text.ends_with("has no revision `mian`"), "{text}");
    assert!(hint.ends_with("such as main"), "{hint}");
    for missing in ["0123456789012345678901234567890123456789", "01234567", "HEAD~1"] {
        assert_eq!(explanation(try_obtain(&world.spec(Some(missing)))).0, Kind::Usage, "{missing}");
    }
}

#[test]
fn a_directory_that_is_no_repository_is_named() {
    let world = World::new();
    let (kind, text, _) = explanation(try_obtain(&at(&world.path("nowhere").display().to_string(), None, None)));
    assert_eq!(kind, Kind::Environment);
    assert!(text.contains("no git repository at") && text.contains("nowhere"), "{text}");
}

#[test]
fn an_empty_repository_has_nothing_to_begin_with() {
    let world = World::new();
    std::fs::create_dir(world.path("empty")).unwrap();
    world.git("empty", &["init", "-q"]);
    let (kind, text, _) = explanation(try_obtain(&at(&world.path("empty").display().to_string(), None, None)));
    assert_eq!(kind, Kind::Environment);
    assert!(text.contains("no commit to begin with"), "{text}");
}

/// `app` has the submodule `libs/lib`, which has the submodule `deep`; both by relative URL.
fn with_submodules() -> World {
    let world = World::new();
    world.repository("deep");
    world.repository("lib");
    for (outer, url, path) in [("lib", "../deep", "deep"), ("app", "../lib", "libs/lib")] {
        world.git(outer, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, path]);
        world.git(outer, &["commit", "-qm", "submodule"]);
    }
    world
}

#[test]
fn submodules_look_exactly_as_git_itself_lays_them_out() {
    let world = with_submodules();
    let ours = obtained(&world.spec(None));
    world.shell("", "umask 022; git -c protocol.file.allow=always clone -q --recursive app theirs", &[]);
    let theirs = world.path("theirs").canonicalize().unwrap();
    assert_eq!(seen(&ours, &ours.root), seen(&ours, &theirs));
    let nested = std::fs::read_to_string(ours.root.join("libs/lib/deep/.git")).unwrap();
    assert_eq!(nested, "gitdir: ../../../.git/modules/libs/lib/modules/deep\n");
}

#[test]
fn submodules_that_were_not_asked_for_are_empty_directories() {
    let world = with_submodules();
    let mut spec = world.spec(None);
    if let crate::source::SourceSpec::Repository { submodules, .. } = &mut spec {
        *submodules = false;
    }
    let checkout = obtained(&spec);
    assert_eq!(seen(&checkout, &checkout.root.join("libs")).keys().collect::<Vec<_>>(), ["", "lib"]);
}

/// git reads no other file for a `.gitmodules` either.
#[test]
fn a_list_of_submodules_includes_no_file_of_this_machine() {
    for section in ["[include]", "[Include]", "[includeIf \"gitdir:/**\"]", "[submodule \"x\"] [include]"] {
        let world = with_submodules();
        world.write("elsewhere", "[submodule \"libs/lib\"]\n  update = none\n", 0o644);
        let elsewhere = world.path("elsewhere").display().to_string();
        let script = "printf '%s\\n  path = %s\\n' \"$1\" \"$2\" >> .gitmodules; git commit -qam include";
        world.shell("app", script, &[section, &elsewhere]);
        assert!(obtained(&world.spec(None)).root.join("libs/lib/.git").exists(), "{section}");
    }
}

#[test]
fn a_submodule_that_leads_elsewhere_is_refused() {
    for (line, elsewhere) in
        [("s,path = libs/lib,path = ../outside,", "../outside"), ("s,\"libs/lib\",\"../../x\",", "../../x")]
    {
        let world = with_submodules();
        world.shell("app", "sed -i \"$1\" .gitmodules; git commit -qam elsewhere", &[line]);
        let (_, text, _) = explanation(try_obtain(&world.spec(None)));
        assert!(text.contains("could not check out") && text.contains(elsewhere), "{text}");
    }
}

#[test]
fn what_was_cloned_has_no_trace_of_where_from() {
    let world = with_submodules();
    let checkout = obtained(&world.spec(None));
    let origin = world.path("app").display().to_string();
    assert!(!any_file_has(&checkout.root.join(".git"), &origin));
}

#[test]
fn a_clone_whose_caller_went_away_leaves_nothing_behind() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let spec = world.spec(None);
    runtime.block_on(async {
        let events = Events::nobody();
        let mut future = Box::pin(obtain(&spec, None, &events));
        // One poll begins the clone; then the caller is gone.
        let _ = futures::poll!(&mut future);
        drop(future);
    });
}
