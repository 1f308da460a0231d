//! Gives steps the secrets they mount. A secret is read when a step asks for it, and a cached step never asks.
//!
//! It reads files, never the environment: the values of variables are given to it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

use crate::auth::Secret;
use crate::targets::{SecretOrigin, SecretSource};

/// The path of the one method we serve.
pub(super) const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";

/// Bytes of the largest secret (BuildKit's `secretsprovider.MaxSecretSize`).
const SECRET_LIMIT: u64 = 500 * 1024;

/// The secrets of a session. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Known>);

#[derive(Default)]
struct Known {
    sources: BTreeMap<String, SecretOrigin>,
    environment: BTreeMap<String, Secret>,
}

impl Secrets {
    /// The secrets of a target, with the values of the variables they name. A variable without a value is no secret.
    pub(crate) fn new(sources: &[SecretSource], environment: BTreeMap<String, Secret>) -> Secrets {
        let sources = sources.iter().map(|source| (source.id.clone(), source.from.clone())).collect();
        Secrets(Arc::new(Known { sources, environment }))
    }

    /// The bytes of a secret; none if there is no such secret.
    fn read(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let bytes = match self.0.sources.get(id) {
            None => return Ok(None),
            Some(SecretOrigin::Env(name)) => match self.0.environment.get(name) {
                None => return Ok(None),
                Some(value) => value.reveal().as_bytes().to_vec(),
            },
            Some(SecretOrigin::File(path)) => {
                read_file(path).with_context(|| format!("could not read secret `{id}` from {}", path.display()))?
            }
        };
        anyhow::ensure!(bytes.len() as u64 <= SECRET_LIMIT, "secret `{id}` is larger than {SECRET_LIMIT} bytes");
        Ok(Some(bytes))
    }
}

/// Reads a file, one byte beyond the limit at most.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(SECRET_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let secrets = self.clone();
        let asked = id.clone();
        let read = tokio::task::spawn_blocking(move || secrets.read(&asked)).await;
        match read.map_err(anyhow::Error::from).flatten() {
            Ok(Some(data)) => Ok(Response::new(GetSecretResponse { data })),
            Ok(None) => Err(Status::not_found(format!("there is no secret `{id}`"))),
            Err(error) => Err(Status::unknown(format!("{error:#}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::secrets_server::Secrets as _;
    use super::*;

    async fn ask(secrets: &Secrets, id: &str) -> Result<Vec<u8>, Status> {
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        Ok(secrets.get_secret(Request::new(request)).await?.into_inner().data)
    }

    #[tokio::test]
    async fn a_secret_is_what_its_file_or_variable_holds_and_any_other_is_not_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, large) = (folder.path().join("file"), folder.path().join("large"));
        std::fs::write(&file, b"\x00binary\n").expect("written");
        std::fs::write(&large, vec![b'x'; 500 * 1024 + 1]).expect("written");
        let source = |id: &str, from| SecretSource { id: id.to_owned(), from };
        let sources = [
            source("file", SecretOrigin::File(file)),
            source("large", SecretOrigin::File(large)),
            source("gone", SecretOrigin::File(folder.path().join("gone"))),
            source("set", SecretOrigin::Env("SET".to_owned())),
            source("unset", SecretOrigin::Env("UNSET".to_owned())),
        ];
        let secrets = Secrets::new(&sources, BTreeMap::from([("SET".to_owned(), Secret::new("value"))]));

        assert_eq!(ask(&secrets, "file").await.expect("it is there"), b"\x00binary\n");
        assert_eq!(ask(&secrets, "set").await.expect("it is there"), b"value");
        for missing in ["unset", "never named"] {
            assert_eq!(ask(&secrets, missing).await.expect_err("none").code(), tonic::Code::NotFound, "{missing}");
        }
        for (broken, said) in [("large", "larger than 512000 bytes"), ("gone", "could not read secret `gone` from")] {
            let status = ask(&secrets, broken).await.expect_err("broken");
            assert_eq!(status.code(), tonic::Code::Unknown);
            assert!(status.message().contains(said), "{status}");
        }
    }
}
