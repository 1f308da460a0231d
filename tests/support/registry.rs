//! A real registry on loopback, open or behind an ECR-like login, and what lies in it.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::authority::Authority;
use super::process::{Process, command};
use super::wait_until;

/// A registry; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    address: SocketAddr,
    _process: Process,
}

impl Registry {
    /// Keeps its blobs in `data`, its own files in `folder`; anybody may read and write.
    pub(crate) fn open(folder: &Path, data: &Path) -> Registry {
        Registry::start(folder, data, "")
    }

    /// As [`Registry::open`], for whoever logs in as AWS's `AWS` with this password.
    pub(crate) fn behind_login(folder: &Path, data: &Path, password: &str) -> Registry {
        fs::create_dir_all(folder).unwrap();
        let file = folder.join("htpasswd");
        let made = Command::new("htpasswd").args(["-Bbn", "AWS", password]).output().unwrap();
        fs::write(&file, made.stdout).unwrap();
        Registry::start(folder, data, &format!("auth: {{htpasswd: {{realm: ecr, path: {}}}}}", file.display()))
    }

    /// As [`Registry::open`], over TLS with the authority's certificate `registry`, for whoever has one of the authority.
    pub(crate) fn with_tls(folder: &Path, data: &Path, authority: &Authority) -> Registry {
        let [certificate, key, clients] = ["registry.pem", "registry.key", "ca.pem"].map(|file| authority.file(file));
        Registry::start(
            folder,
            data,
            &format!("  tls: {{certificate: {certificate}, key: {key}, clientcas: [{clients}]}}"),
        )
    }

    fn start(folder: &Path, data: &Path, more: &str) -> Registry {
        fs::create_dir_all(folder).unwrap();
        let config = folder.join("registry.yml");
        // Between our asking for a free port and its use another process may take it: then there is a next one.
        for _ in 0..5 {
            let address = free_address();
            let text = format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                 http:\n  addr: \"{address}\"\n{more}\n",
                data.display()
            );
            fs::write(&config, text).unwrap();
            let log = fs::File::create(folder.join("registry.log")).unwrap();
            let mut serve = command("docker-registry");
            // Its AWS library panics when it meets this variable.
            serve.arg("serve").arg(&config).env_remove("AWS_CA_BUNDLE");
            serve.stdout(log.try_clone().unwrap()).stderr(log);
            let mut process = Process::start(serve);
            wait_until("the registry answers", 20, || process.ended().is_some() || TcpStream::connect(address).is_ok());
            if process.ended().is_none() {
                return Registry { address, _process: process };
            }
        }
        panic!("the registry does not start: {}", fs::read_to_string(folder.join("registry.log")).unwrap());
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The manifest behind `repository:tag`, parsed.
    pub(crate) fn manifest(&self, repository: &str, tag: &str) -> serde_json::Value {
        serde_json::from_slice(&self.get(&format!("/v2/{repository}/manifests/{tag}"))).unwrap()
    }

    /// A blob's bytes.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Vec<u8> {
        self.get(&format!("/v2/{repository}/blobs/{digest}"))
    }

    /// The layers of `repository:tag`, largest first: (digest, size).
    pub(crate) fn layers(&self, repository: &str, tag: &str) -> Vec<(String, u64)> {
        let manifest = self.manifest(repository, tag);
        let layers = manifest["layers"].as_array().unwrap().iter();
        let mut layers: Vec<_> = layers
            .map(|layer| (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap()))
            .collect();
        layers.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        layers
    }

    /// Puts a blob there and gives its digest.
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let begun = curl(&["-X", "POST", "-D", "-", &self.url(&format!("/v2/{repository}/blobs/uploads/"))], b"");
        let begun = String::from_utf8(begun).unwrap();
        let location = begun.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().trim().to_owned();
        let digest = digest_of(bytes);
        let kind = "Content-Type: application/octet-stream";
        curl(&["-X", "PUT", "-H", kind, "--data-binary", "@-", &format!("{location}&digest={digest}")], bytes);
        digest
    }

    /// Puts a manifest there under a tag.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, manifest: &serde_json::Value) {
        let kind = format!("Content-Type: {}", manifest["mediaType"].as_str().unwrap());
        let url = self.url(&format!("/v2/{repository}/manifests/{tag}"));
        curl(&["-X", "PUT", "-H", &kind, "--data-binary", "@-", &url], manifest.to_string().as_bytes());
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let accept = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";
        curl(&["-L", "-H", accept, &self.url(path)], b"")
    }
}

fn curl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body"]).args(arguments);
    let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    output.stdout
}

/// `sha256:…` of these bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A loopback address nobody listens at.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// A folder's path, made.
pub(crate) fn made(folder: PathBuf) -> PathBuf {
    fs::create_dir_all(&folder).unwrap();
    folder
}
