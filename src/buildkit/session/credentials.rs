//! Gives the builder the logins it needs at registries.
//!
//! The builder fetches its tokens itself: of the four methods of `Auth` it needs one, and takes `Unimplemented` for the
//! others as "use that one" (BuildKit's `util/resolver/authorizer.go`). Where logins come from is not known here.

use std::sync::Arc;

use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use tonic::{Request, Response, Status};

use crate::auth::{Keychain, Secret};

/// The path of the one method we serve.
pub(super) const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";

/// A login at a registry. An empty user name says that the password is an identity token.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// The user's name.
    pub(crate) username: String,
    /// The password or token.
    pub(crate) password: Secret,
}

/// Knows logins.
#[tonic::async_trait]
pub(crate) trait Logins: Send + Sync {
    /// The login at a registry's host (with its port, if it has one); none for an anonymous visit.
    ///
    /// Called again whenever the builder needs one, possibly many times at once. An error fails what the builder was
    /// doing; its text is shown to the person.
    async fn login(&self, host: &str) -> anyhow::Result<Option<Login>>;
}

#[tonic::async_trait]
impl Logins for Keychain {
    async fn login(&self, host: &str) -> anyhow::Result<Option<Login>> {
        let credentials = self.credentials(host).await?;
        Ok(credentials.map(|found| Login { username: found.username, password: found.password }))
    }
}

/// Serves logins.
#[derive(Clone)]
pub(super) struct Credentials(pub(super) Arc<dyn Logins>);

#[tonic::async_trait]
impl Auth for Credentials {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let login = match self.0.login(&host).await {
            Ok(login) => login,
            // Not Unimplemented or Unavailable: the builder would go on without a login.
            Err(error) => return Err(Status::unknown(format!("could not log in to {host}: {error:#}"))),
        };
        Ok(Response::new(match login {
            Some(login) => CredentialsResponse { username: login.username, secret: login.password.reveal().to_owned() },
            None => CredentialsResponse::default(),
        }))
    }

    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("not served by this client"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("not served by this client"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("not served by this client"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OneHost;

    #[tonic::async_trait]
    impl Logins for OneHost {
        async fn login(&self, host: &str) -> anyhow::Result<Option<Login>> {
            match host {
                "known" => Ok(Some(Login { username: "AWS".to_owned(), password: Secret::new("token") })),
                "broken" => Err(anyhow::anyhow!("the token expired").context("asking ECR")),
                _ => Ok(None),
            }
        }
    }

    async fn ask(host: &str) -> Result<(String, String), Status> {
        let request = Request::new(CredentialsRequest { host: host.to_owned() });
        let answer = Credentials(Arc::new(OneHost)).credentials(request).await?.into_inner();
        Ok((answer.username, answer.secret))
    }

    #[tokio::test]
    async fn a_known_host_gets_its_login_and_another_goes_anonymous() {
        assert_eq!(ask("known").await.expect("a login"), ("AWS".to_owned(), "token".to_owned()));
        assert_eq!(ask("other").await.expect("no login"), (String::new(), String::new()));
    }

    #[tokio::test]
    async fn a_login_that_fails_is_not_mistaken_for_none() {
        let status = ask("broken").await.expect_err("it fails");
        assert_eq!(status.code(), tonic::Code::Unknown);
        assert_eq!(status.message(), "could not log in to broken: asking ECR: the token expired");
    }
}
