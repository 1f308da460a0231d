//! What all tests share and none changes: where the tools are, a folder, a registry with the base images and
//! the exported cache of the sample, moto. Made when first asked for.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use super::process::{Process, command};
use super::registry::{free_address, made};
use super::{Builder, Registry, wait_until};

/// The sample's cache in the shared registry.
pub(crate) const CACHE: (&str, &str) = ("team/sample", "cache");

/// What all tests share.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The registry: `library/busybox:1.35`, `docker/dockerfile:1` and [`CACHE`]. Tests only read it.
    pub(crate) registry: Registry,
    /// The sample's repository, and its commit.
    pub(crate) sample: PathBuf,
    /// The commit of the sample.
    pub(crate) commit: String,
}

/// The shared ground.
pub(crate) fn ground() -> &'static Ground {
    static GROUND: LazyLock<Ground> = LazyLock::new(Ground::make);
    &GROUND
}

impl Ground {
    fn make() -> Ground {
        let folder = made(folder().join("ground"));
        let registry = Registry::open(&folder.join("registry"), &data());
        let sample = folder.join("sample");
        let commit = super::git::sample(&sample);
        let config = mirror_config(&folder, registry.address());
        let builder = Builder::start(&folder.join("ci"), &folder.join("ci/root"), &config);
        let pushed = Command::new(support("images.sh"))
            .args([tool("BUILDCTL"), tool("DOCKERFILE_FRONTEND"), builder.socket()])
            .arg(registry.address().to_string())
            .status();
        assert!(pushed.unwrap().success(), "the base images could not be pushed");
        let cache = format!("type=registry,mode=max,ref={}/{}:{}", registry.address(), CACHE.0, CACHE.1);
        builder.build(&sample, &["--export-cache", &cache]).succeeded();
        drop(builder);
        fs::remove_dir_all(folder.join("ci")).unwrap();
        Ground { registry, sample, commit }
    }
}

/// The shared registry's blobs; a second registry may serve them too.
pub(crate) fn data() -> PathBuf {
    folder().join("ground/data")
}

/// A file that names `registry` as docker.io's mirror, for buildkitd.
pub(crate) fn mirror_config(folder: &Path, registry: SocketAddr) -> PathBuf {
    let file = folder.join("buildkitd.toml");
    fs::write(&file, format!("[registry.\"docker.io\"]\n  mirrors = [\"{registry}\"]\n")).unwrap();
    file
}

/// The address of moto's server: AWS's API.
pub(crate) fn moto() -> SocketAddr {
    static MOTO: LazyLock<(SocketAddr, Process)> = LazyLock::new(|| {
        let address = free_address();
        let mut serve = command(tool("MOTO_SERVER"));
        serve.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let process = Process::start({
            serve.stdout(Stdio::null()).stderr(Stdio::null());
            serve
        });
        wait_until("moto answers", 60, || TcpStream::connect(address).is_ok());
        (address, process)
    });
    MOTO.0
}

/// A program that `tests/setup.sh` installed; another buildkitd where `CACHEWARM_TEST_BUILDKITD` names one.
#[expect(clippy::disallowed_methods, reason = "tests are configured as their set-up is")]
pub(crate) fn tool(name: &str) -> PathBuf {
    if let ("BUILDKITD", Some(other)) = (name, std::env::var_os("CACHEWARM_TEST_BUILDKITD")) {
        return other.into();
    }
    static TOOLS: LazyLock<BTreeMap<String, PathBuf>> = LazyLock::new(|| {
        let file = cache_folder().join("env");
        let text = fs::read_to_string(&file).unwrap_or_else(|_| panic!("no {}: run tests/setup.sh", file.display()));
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, path)| (name.into(), path.into())).collect()
    });
    TOOLS.get(name).unwrap_or_else(|| panic!("tests/setup.sh gives no {name}")).clone()
}

/// The source of the buildx that `tests/setup.sh` builds.
pub(crate) fn buildx_source() -> PathBuf {
    module_source("tests/tools-buildx", "github.com/docker/buildx")
}

/// The source of a module that a tools module builds.
pub(crate) fn module_source(tools: &str, module: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(tools);
    let asked = ["list", "-m", "-f", "{{.Dir}}", module];
    let folder = Command::new("go").args(asked).current_dir(folder).output().unwrap();
    assert!(folder.status.success(), "{}", String::from_utf8_lossy(&folder.stderr));
    PathBuf::from(String::from_utf8(folder.stdout).unwrap().trim())
}

/// The cache folder of `tests/setup.sh`.
#[expect(clippy::disallowed_methods, reason = "tests are configured as their set-up is")]
fn cache_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    set("CACHEWARM_TEST_CACHE").unwrap_or_else(|| {
        set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap().join(".cache")).join("cachewarm")
    })
}

/// A script of this folder.
pub(crate) fn support(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}

/// The folder everything of this test process lies in. A janitor unmounts and removes it when the process ends.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: LazyLock<(PathBuf, Child)> = LazyLock::new(|| {
        // Short, because sockets lie in it, and their paths may not be long.
        let folder = PathBuf::from(format!("/tmp/cachewarm-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        (folder, janitor.unwrap())
    });
    &FOLDER.0
}

/// Reads until the test process is gone, however it went; then waits for daemons to die of that.
const JANITOR: &str = r#"
trap '' INT TERM HUP
cat
sleep 1
for mount in $(awk -v folder="$1/" 'index($2, folder) == 1 { print $2 }' /proc/self/mounts | sort -r); do
  umount --lazy "$mount"
done
rm -rf "$1"
"#;

/// How many runs a test of chance makes: `few`, or as many as `CACHEWARM_CAMPAIGN` says.
#[expect(clippy::disallowed_methods, reason = "how long a campaign is, is the caller's word")]
pub(crate) fn runs(few: u64) -> u64 {
    std::env::var("CACHEWARM_CAMPAIGN").map_or(few, |runs| runs.parse().unwrap())
}

/// Numbers below a limit, at random and in each run the same.
pub(crate) fn random() -> impl FnMut(u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}
