//! Clones over http, from git's own http backend behind a small server that knows Basic authentication.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;

use super::world::{World, any_file_has, at, explanation, obtained, seen, try_obtain};
use crate::failure::Kind;

/// Serves all repositories of a folder; `user:password` pairs that are let in, none for everybody.
pub(super) struct Server {
    port: u16,
    asked_with: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) fn of(world: &World, allowed: &'static [&'static str]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked_with = Arc::new(Mutex::new(Vec::new()));
        let (folder, log) = (world.path(""), Arc::clone(&asked_with));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, log) = (folder.clone(), Arc::clone(&log));
                std::thread::spawn(move || answer(stream, &folder, allowed, &log));
            }
        });
        Server { port, asked_with }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub(super) fn asked_with(&self) -> Vec<String> {
        self.asked_with.lock().expect("the log").clone()
    }
}

fn answer(mut stream: TcpStream, folder: &Path, allowed: &[&str], log: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().ok()?, 0);
        reader.read_exact(&mut body).ok()?;
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    let basic = headers.get("authorization").and_then(|value| value.strip_prefix("Basic "));
    let given = basic.and_then(|value| base64::engine::general_purpose::STANDARD.decode(value).ok());
    let given = given.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    log.lock().ok()?.extend(given.clone());
    if !allowed.is_empty() && !given.is_some_and(|given| allowed.contains(&given.as_str())) {
        let denied = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(denied.as_bytes()).ok();
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    if let Some(given) = super::large::served(folder, path, &body, headers.get("host")?) {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.git-lfs+json\r\nConnection: close\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n", given.len()).ok()?;
        return stream.write_all(&given).ok();
    }
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .envs([("REQUEST_METHOD", method.as_str()), ("PATH_INFO", path), ("QUERY_STRING", query)])
        .env("CONTENT_TYPE", headers.get("content-type").map_or("", String::as_str))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", headers.get("content-encoding").map_or("", String::as_str))
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_COUNT", "1")])
        .envs([("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    backend.stdin.take()?.write_all(&body).ok()?;
    let output = backend.wait_with_output().ok()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        output.len() - end - 4
    )
    .ok()?;
    stream.write_all(&output[end + 4..]).ok()
}

fn is_shallow(root: &Path) -> bool {
    root.join(".git/shallow").exists()
}

#[test]
fn only_what_is_needed_is_fetched() {
    let world = World::new();
    let server = Server::of(&world, &[]);
    let (first, second) = (world.commit("app", "v1"), world.commit("app", "main"));
    for (rev, commit) in
        [(None, &second), (Some("main"), &second), (Some("v1"), &first), (Some(first.as_str()), &first)]
    {
        let checkout = obtained(&at(&server.url("app/.git"), rev, None));
        assert_eq!(checkout.commit.as_ref(), Some(commit), "{rev:?}");
    }
    let checkout = obtained(&at(&server.url("app/.git"), Some("main"), None));
    assert!(is_shallow(&checkout.root));
}

#[test]
fn a_bare_commit_is_fetched_alone_where_the_server_allows_it_and_with_everything_else_where_not() {
    let world = World::new();
    let middle = world.commit("app", "main");
    world.write("app/text", "three", 0o644);
    world.git("app", &["commit", "-qam", "three"]);
    world.git("app", &["tag", "-d", "v2"]);
    let server = Server::of(&world, &[]);
    for (allowed, shallow) in [("false", false), ("true", true)] {
        world.git("app", &["config", "uploadpack.allowReachableSHA1InWant", allowed]);
        let checkout = obtained(&at(&server.url("app/.git"), Some(&middle), None));
        assert_eq!(checkout.commit.as_deref(), Some(middle.as_str()));
        assert_eq!(std::fs::read_to_string(checkout.root.join("text")).unwrap(), "two");
        assert_eq!(is_shallow(&checkout.root), shallow, "{allowed}");
    }
    let checkout = obtained(&at(&server.url("app/.git"), Some(&middle[..8]), None));
    assert_eq!(checkout.commit.as_deref(), Some(middle.as_str()));
}

#[test]
fn credentials_come_from_the_url_and_leave_no_trace() {
    let world = World::new();
    let server = Server::of(&world, &["me:hunter2@"]);
    let url = server.url("app/.git").replace("http://", "http://me:hunter2%40@");
    let checkout = obtained(&at(&url, None, None));
    assert_eq!(checkout.location, server.url("app/.git"));
    assert!(!any_file_has(&checkout.root, "hunter2"));
    assert!(!format!("{checkout:?}").contains("hunter2"));
}

#[test]
fn a_token_is_shown_to_its_own_host_also_for_submodules() {
    let world = World::new();
    world.repository("lib");
    world.git("app", &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib", "lib"]);
    // Over http the repositories are called `app/.git` and `lib/.git`.
    world.git("app", &["config", "-f", ".gitmodules", "submodule.lib.url", "../../lib/.git"]);
    world.git("app", &["commit", "-qam", "submodule"]);
    let server = Server::of(&world, &["x-access-token:t0ken"]);
    let checkout = obtained(&at(&server.url("app/.git"), None, Some("t0ken")));
    assert_eq!(seen(&checkout, &checkout.root)["lib/text"], "644 one");
    assert!(is_shallow(&checkout.root));
    assert!(!any_file_has(&checkout.root, "t0ken"));
}

#[test]
fn a_token_is_shown_with_the_user_of_the_url() {
    let world = World::new();
    let server = Server::of(&world, &["gitlab-ci-token:t0ken"]);
    let url = server.url("app/.git").replace("http://", "http://gitlab-ci-token@");
    let checkout = obtained(&at(&url, None, Some("t0ken")));
    assert_eq!(checkout.location, server.url("app/.git"));
    assert!(!server.asked_with().is_empty());
    assert!(server.asked_with().iter().all(|login| login == "gitlab-ci-token:t0ken"), "{:?}", server.asked_with());
    assert!(!any_file_has(&checkout.root, "t0ken"));
}

/// GitLab's jobs, its OAuth tokens and Bitbucket look at the user, and an own host's name tells nothing of what it is.
#[test]
fn a_token_finds_the_user_that_its_host_wants() {
    for login in ["gitlab-ci-token:t0ken", "oauth2:t0ken", "x-token-auth:t0ken"] {
        let world = World::new();
        let server = Server::of(&world, std::slice::from_ref(Box::leak(Box::new(login))));
        let checkout = obtained(&at(&server.url("app/.git"), None, Some("t0ken")));
        assert_eq!(checkout.commit, Some(world.commit("app", "main")));
        assert_eq!(server.asked_with().last().map(String::as_str), Some(login));
        assert!(!any_file_has(&checkout.root, "t0ken"));
    }
}

#[test]
fn a_submodule_of_another_host_is_not_shown_the_token() {
    let world = World::new();
    let elsewhere = Server::of(&world, &["nobody:nothing"]);
    world.repository("lib");
    world.git("app", &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib", "lib"]);
    world.git("app", &["config", "-f", ".gitmodules", "submodule.lib.url", &elsewhere.url("lib/.git")]);
    world.git("app", &["commit", "-qam", "submodule"]);
    let server = Server::of(&world, &["x-access-token:t0ken"]);
    let (kind, text, hint) = explanation(try_obtain(&at(&server.url("app/.git"), None, Some("t0ken"))));
    assert_eq!(kind, Kind::Environment);
    assert!(text.contains("submodule lib") && text.contains("needs credentials"), "{text}");
    assert!(hint.contains("credential helper"), "{hint}");
    assert_eq!(elsewhere.asked_with(), Vec::<String>::new());
}

#[test]
fn a_repository_of_the_network_has_no_submodules_of_this_machine() {
    let world = World::new();
    world.repository("lib");
    let local = world.path("lib").display().to_string();
    world.git("app", &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &local, "lib"]);
    world.git("app", &["commit", "-qm", "submodule"]);
    let server = Server::of(&world, &[]);
    let error = try_obtain(&at(&server.url("app/.git"), None, None)).unwrap_err();
    assert!(format!("{error:#}").contains("is a directory of this machine"), "{error:#}");
}

#[test]
fn missing_credentials_are_asked_for_and_wrong_ones_are_shown_once() {
    let world = World::new();
    let server = Server::of(&world, &["x-access-token:right"]);
    let (kind, text, hint) = explanation(try_obtain(&at(&server.url("app/.git"), None, None)));
    assert_eq!(kind, Kind::Environment);
    assert!(text.contains("needs credentials"), "{text}");
    assert!(hint.contains("CACHEWARM_GIT_TOKEN"), "{hint}");

    let url = server.url("app/.git").replace("http://", "http://me:sesame@");
    let (kind, text, _) = explanation(try_obtain(&at(&url, None, Some("wr0ng"))));
    assert_eq!(kind, Kind::Environment);
    assert!(
        text.contains("refused the credentials it was shown (the URL's user and password, the git token)"),
        "{text}"
    );
    assert!(!text.contains("sesame") && !text.contains("wr0ng"), "{text}");
    let users = ["x-access-token", "oauth2", "gitlab-ci-token", "x-token-auth"];
    let tokens = users.map(|user| format!("{user}:wr0ng"));
    assert_eq!(server.asked_with(), [&["me:sesame".to_owned()], &tokens[..]].concat());
    let (_, _, hint) = explanation(try_obtain(&at(&server.url("app/.git"), None, Some("wr0ng"))));
    assert!(hint.contains("https://USER@"), "{hint}");
}

#[test]
fn what_does_not_answer_and_what_is_not_there_are_told_apart() {
    let world = World::new();
    let server = Server::of(&world, &[]);
    let (kind, text, _) = explanation(try_obtain(&at(&server.url("nope/.git"), None, None)));
    assert!(kind == Kind::Environment && text.contains("there is no git repository at"), "{text}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (kind, text, _) = explanation(try_obtain(&at(&format!("http://127.0.0.1:{closed}/a.git"), None, None)));
    assert!(kind == Kind::Environment && text.contains("could not fetch from"), "{text}");
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/a.git", listener.local_addr().unwrap().port());
    let job = crate::source::CloneJob {
        url,
        rev: None,
        submodules: false,
        token: None,
        modes: crate::source::ModeRule::GIT,
        patience: std::time::Duration::from_millis(300),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(job.run(&crate::event::Events::nobody()));
    let (kind, text, _) = explanation(result);
    assert!(kind == Kind::Environment && text.contains("sent nothing for"), "{text}");
    // Lets the thread that still waits for an answer end.
    drop(listener);
    runtime.shutdown_background();
}

#[test]
fn the_backend_is_git_s_own() {
    let path: PathBuf = Command::new("git")
        .arg("--exec-path")
        .output()
        .map(|it| String::from_utf8_lossy(&it.stdout).trim().into())
        .unwrap();
    assert!(path.join("git-http-backend").exists(), "these tests need git's http backend");
}
