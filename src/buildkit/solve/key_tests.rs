//! What is in a key and what is not, one operation at a time.

use super::*;

fn exec(exec: pb::ExecOp, inputs: usize) -> Key {
    let platform =
        pb::Platform { os: "linux".into(), architecture: "arm".into(), variant: "v7".into(), ..Default::default() };
    Key::of(&pb::Op {
        inputs: vec![pb::Input::default(); inputs],
        platform: Some(platform),
        op: Some(pb::op::Op::Exec(exec)),
        ..Default::default()
    })
}

fn shown(key: &Key) -> Vec<String> {
    key.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn a_command_has_its_words_its_variables_and_its_surroundings() {
    let meta = pb::Meta {
        args: ["/bin/sh", "-c", "make"].map(String::from).to_vec(),
        env: vec!["CFLAGS=-O2".into(), "EMPTY=".into()],
        cwd: "/src".into(),
        extra_hosts: vec![pb::HostIp { host: "db".into(), ip: "10.0.0.1".into() }],
        ulimit: vec![pb::Ulimit { name: "nofile".into(), soft: 1, hard: 2 }],
        proxy_env: Some(pb::ProxyEnv { http_proxy: "http://proxy".into(), ..Default::default() }),
        ..Default::default()
    };
    let key = exec(pb::ExecOp { meta: Some(meta), network: pb::NetMode::Host as i32, ..Default::default() }, 0);
    assert_eq!(
        shown(&key),
        [
            "command: make",
            "env CFLAGS: -O2",
            "env EMPTY: ",
            "host db: set",
            "network: host",
            "platform: linux/arm/v7",
            "ulimit nofile: 1:2",
            "workdir: /src"
        ]
    );
}

#[test]
fn a_mount_says_what_it_is_and_which_paths_of_its_input_count() {
    let mount = |dest: &str, kind: pb::MountType| pb::Mount {
        dest: dest.into(),
        mount_type: kind as i32,
        input: -1,
        ..Default::default()
    };
    let cache = |id: &str, sharing: pb::CacheSharingOpt| pb::Mount {
        cache_opt: Some(pb::CacheOpt { id: id.into(), sharing: sharing as i32 }),
        ..mount("/cache", pb::MountType::Cache)
    };
    let words = |mount: pb::Mount| shown(&exec(pb::ExecOp { mounts: vec![mount], ..Default::default() }, 0))[0].clone();
    assert_eq!(words(cache("/cache", pb::CacheSharingOpt::Shared)), "mount /cache: cache id=/cache sharing=shared");
    assert_eq!(words(cache("mine", pb::CacheSharingOpt::Shared)), "mount /cache: cache");
    assert_eq!(words(cache("/cache", pb::CacheSharingOpt::Locked)), "mount /cache: cache");
    let shm = pb::Mount { tmpfs_opt: Some(pb::TmpfsOpt { size: 64 }), ..mount("/dev/shm", pb::MountType::Tmpfs) };
    assert_eq!(words(shm), "mount /dev/shm: tmpfs size=64");

    let base = pb::Mount { input: 0, ..mount("/", pb::MountType::Bind) };
    let bind = pb::Mount { input: 1, selector: "/csrc".into(), readonly: true, ..mount("/src", pb::MountType::Bind) };
    let key = exec(pb::ExecOp { mounts: vec![base, bind], ..Default::default() }, 2);
    assert_eq!(shown(&key)[0], "mount /src: bind source=/csrc readonly");
    assert_eq!(key.reads, [vec![], vec!["/csrc".to_owned()]]);
}

#[test]
fn a_copy_says_what_from_where_and_for_whom() {
    let copy = pb::FileActionCopy {
        src: "/vllm".into(),
        dest: "/app/".into(),
        mode: -1,
        timestamp: -1,
        owner: Some(pb::ChownOpt { user: Some(pb::UserOpt { user: Some(pb::user_opt::User::ById(7)) }), group: None }),
        ..Default::default()
    };
    let action = pb::FileAction {
        input: 0,
        secondary_input: 1,
        action: Some(pb::file_action::Action::Copy(copy)),
        ..Default::default()
    };
    let file = pb::FileOp { actions: vec![action] };
    let inputs = vec![pb::Input::default(); 2];
    let key = Key::of(&pb::Op { inputs, op: Some(pb::op::Op::File(file)), ..Default::default() });
    assert_eq!(shown(&key), ["copy 1 destination: /app/", "copy 1 owner: 7:", "copy 1 source: /vllm"]);
    assert_eq!(key.reads, [vec![], vec!["/vllm".to_owned()]]);
}

#[test]
fn an_image_is_its_name_and_its_digest_and_a_directory_is_what_is_wanted_of_it() {
    let source = |identifier: &str, attrs: &[(&str, &str)]| pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: identifier.into(),
            attrs: attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        })),
        ..Default::default()
    };
    let image = source("docker-image://docker.io/library/busybox:1@sha256:ab", &[("image.resolvemode", "local")]);
    assert_eq!(shown(&Key::of(&image)), ["image: docker.io/library/busybox:1", "image digest: sha256:ab"]);
    let attrs = [("local.followpaths", r#"["csrc"]"#), ("local.session", "x"), ("local.excludepatterns", "no list")];
    let local = source("local://context", &attrs);
    assert_eq!(shown(&Key::of(&local)), ["directory: context"]);
    let follow = Some(vec!["csrc".to_owned()]);
    assert_eq!(directory(&local), Some(("context".to_owned(), Selection { follow, ..Default::default() })));
    assert_eq!(directory(&image), None);
}

#[test]
fn what_no_checksum_and_no_commit_names_is_asked_for_by_every_build() {
    let source = |identifier: &str, attrs: &[(&str, &str)]| {
        let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let source = pb::SourceOp { identifier: identifier.to_owned(), attrs };
        asked_every_time(&pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() })
    };
    let git = |url: &str| source("git://h/r.git#main", &[("git.fullurl", url)]).unwrap();
    assert_eq!(git("https://h/r.git"), "https://h/r.git#main");
    assert_eq!(git("https://user:token@h/r.git"), "git://h/r.git#main");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    for asked in ["https://h/file", "http://h/file", "git://h/r.git", "git://h/r.git#main", "git://h/r.git#v1:sub"] {
        assert_eq!(source(asked, &[]).as_deref(), Some(asked));
    }
    for known in [&format!("git://h/r.git#{commit}"), &format!("git://h/r.git#{commit}:sub"), "local://context", "odd"]
    {
        assert_eq!(source(known, &[]), None, "{known}");
    }
    assert_eq!(source("https://h/file", &[("http.checksum", "sha256:aa")]), None);
}
