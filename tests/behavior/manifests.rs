//! What warm runs leave behind: read by a person, held against each other, and as the published schemas say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::explain::{reasons_of, replaced, shared, smoke_of, warmed};
use crate::support::ground::tool;

#[test]
fn two_warm_runs_are_held_against_each_other() {
    let (world, project) = warmed();
    let (old, new) = (world.path("old.json"), world.path("manifest.json"));
    fs::copy(&new, &old).unwrap();
    let explain = || world.says(&["explain", old.to_str().unwrap(), new.to_str().unwrap()]);
    assert_eq!(explain().0, Some(0));

    replaced(&project, "CFLAGS=-O1", "CFLAGS=-O2\nARG NPM_TOKEN");
    // The frontend writes the value into the name of the step.
    replaced(&project, "RUN echo unnamed", "ARG NPM_TOKEN\nRUN echo $NPM_TOKEN");
    let source = ["--context", project.to_str().unwrap(), "--build-context", &shared(&project)];
    let warm = world.warm().source(source).from([]).with(["--build-arg", "NPM_TOKEN=hush"]).run().exits(0);

    let (code, text) = explain();
    assert_eq!(code, Some(5));
    for told in ["[compile 2/2]", "CFLAGS changed: -O1 → -O2", "NPM_TOKEN was added: (secret)", "2 that differ"] {
        assert!(text.contains(told), "no `{told}` in:\n{text}");
    }
    // The warm run had the first one's manifest to compare with.
    let told = reasons_of(&warm, "ran");
    assert!(told.iter().any(|(kind, what)| kind == "argument-changed" && what.contains("CFLAGS")), "{told:?}");

    let (code, shown) = world.says(&["manifest", "show", new.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    for told in ["env CFLAGS: -O2", "overlayfs", "shared: ", "from [deps 2/2]", "mount /tools: bind source=/opt"] {
        assert!(shown.contains(told), "no `{told}` in:\n{shown}");
    }
    let json = world.says(&["manifest", "show", new.to_str().unwrap(), "--report", "json"]).1;
    assert_eq!(json, fs::read_to_string(&new).unwrap());
    let told = format!("{}{}{text}{shown}", warm.stdout, warm.reports(""));
    assert!(!told.contains("hush"), "{told}");
    assert!(!json.contains("hush") && json.contains("f 0644 "), "{json}");
    assert_eq!(world.says(&["manifest", "show", "/nowhere.json"]).0, Some(2));

    let report = |name: &str, text: String| fs::write(world.path(name), text).unwrap();
    report("manifest.out", json);
    report("explain.out", world.says(&["explain", old.to_str().unwrap(), new.to_str().unwrap(), "--report=json"]).1);
    report("warm.out", warm.reports("").to_string());
    report("smoke.out", smoke_of(&world, &project, &world.root()).reports("").to_string());
    report("check.out", world.check(&world.root(), &["--deep"]).reports("").to_string());
    for (schema, reports) in
        [("manifest", "manifest"), ("explain", "explain"), ("check", "check"), ("report", "warm smoke")]
    {
        let reports = reports.split(' ').map(|report| world.path(&format!("{report}.out")));
        is_as_published(schema, reports);
    }
}

/// Panics unless JSON Schema's own reference finds that the files are what the published schema says. Python's package is
/// there with moto.
fn is_as_published(schema: &str, files: impl Iterator<Item = PathBuf>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/report/schemas/{schema}.schema.json"));
    let printed = Command::new(env!("CARGO_BIN_EXE_cachewarm")).args(["schema", schema]).output().unwrap();
    assert!(printed.stdout == fs::read(&path).unwrap(), "`cachewarm schema {schema}` is not {}", path.display());
    let validate = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        for file in sys.argv[2:]: jsonschema.validate(json.load(open(file)), schema)";
    let python = tool("MOTO_SERVER").with_file_name("python");
    let checked = Command::new(python).args(["-c", validate]).arg(&path).args(files).output().unwrap();
    assert!(checked.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&checked.stderr));
}
