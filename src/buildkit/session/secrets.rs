//! Gives steps the secrets they mount. It reads nothing itself: what a step gets is what was read before anything was built,
//! so that whoever hides secrets knows all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

use crate::auth::Secret;
use crate::targets::{SecretOrigin, SecretSource};

/// The path of the one method we serve.
pub(super) const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";

/// Bytes of the largest secret (BuildKit's `secretsprovider.MaxSecretSize`).
pub(crate) const SECRET_LIMIT: u64 = 500 * 1024;

/// What was read of secrets: the value, nothing where a variable is not set, or why it could not be read.
pub(crate) type SecretValues = BTreeMap<SecretOrigin, Result<Option<Secret<Vec<u8>>>, String>>;

/// The secrets of a session. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Known>);

#[derive(Default)]
struct Known {
    sources: BTreeMap<String, SecretOrigin>,
    values: SecretValues,
}

impl Secrets {
    /// The secrets of a target, whose values are among `values`.
    pub(crate) fn new(sources: &[SecretSource], values: &SecretValues) -> Secrets {
        let sources = sources.iter().map(|source| (source.id.clone(), source.from.clone())).collect();
        Secrets(Arc::new(Known { sources, values: values.clone() }))
    }

    /// The bytes of a secret; none if there is no such secret.
    fn get(&self, id: &str) -> Result<Option<Vec<u8>>, String> {
        match self.0.sources.get(id).and_then(|from| self.0.values.get(from)) {
            None | Some(Ok(None)) => Ok(None),
            Some(Ok(Some(value))) => Ok(Some(value.reveal_bytes().to_vec())),
            Some(Err(error)) => Err(error.clone()),
        }
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.get(&id) {
            Ok(Some(data)) => Ok(Response::new(GetSecretResponse { data })),
            Ok(None) => Err(Status::not_found(format!("there is no secret `{id}`"))),
            Err(error) => Err(Status::unknown(format!("could not read secret `{id}`: {error}"))),
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
    async fn a_step_gets_what_was_read_and_any_other_secret_is_not_found() {
        let env = |name: &str| SecretOrigin::Env(name.to_owned());
        let values = SecretValues::from([
            (SecretOrigin::File("/file".into()), Ok(Some(Secret::from_bytes(b"\x00binary\n")))),
            (SecretOrigin::File("/gone".into()), Err("could not read /gone".to_owned())),
            (env("SET"), Ok(Some(Secret::from_bytes("value")))),
            (env("UNSET"), Ok(None)),
        ]);
        let source = |id: &str, from| SecretSource { id: id.to_owned(), from };
        let sources = [
            source("file", SecretOrigin::File("/file".into())),
            source("gone", SecretOrigin::File("/gone".into())),
            source("set", env("SET")),
            source("unset", env("UNSET")),
        ];
        let secrets = Secrets::new(&sources, &values);

        assert_eq!(ask(&secrets, "file").await.expect("it is there"), b"\x00binary\n");
        assert_eq!(ask(&secrets, "set").await.expect("it is there"), b"value");
        for missing in ["unset", "never named"] {
            assert_eq!(ask(&secrets, missing).await.expect_err("none").code(), tonic::Code::NotFound, "{missing}");
        }
        let status = ask(&secrets, "gone").await.expect_err("broken");
        assert_eq!(status.code(), tonic::Code::Unknown);
        assert!(status.message().contains("could not read secret `gone`: could not read /gone"), "{status}");
    }
}
