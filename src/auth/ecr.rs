//! ECR's passwords: `GetAuthorizationToken`, once per account and region, renewed before it expires.
//!
//! **Invariant:** a token lives in memory only, and one use of a registry makes at most one request to AWS, however
//! odd the expiry that comes back. Credentials come from the SDK's default provider chain; nothing here reads the
//! environment itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::config::ProvideCredentials;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::operation::get_authorization_token::{GetAuthorizationTokenError, GetAuthorizationTokenOutput};

use super::docker_config::decode_auth;
use super::ecr_host::EcrHost;
use super::{Credentials, aws_client};
use crate::failure::{Failure, Kind};

/// For one call with the SDK's own retries; long enough for a throttled account, short enough to notice a firewall.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Renew when less than this is left (tokens live 12 hours); half the lifetime for shorter ones.
const RENEW_BEFORE: Duration = Duration::from_secs(3600);
/// Looking for credentials where there are none (IMDS on a machine that has none) takes seconds; not for every use.
const NOBODY_FOR: Duration = Duration::from_secs(60);

/// What asking came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// A password.
    Credentials(Credentials),
    /// The provider chain gave no AWS credentials; the error says so, in case nobody else has any either.
    NobodyHere(anyhow::Error),
}

#[derive(Debug, Clone)]
struct Token {
    credentials: Credentials,
    renew_at: Instant,
    expires_at: Instant,
}

/// What is remembered for one host.
#[derive(Debug, Default)]
struct Held {
    token: Option<Token>,
    nobody_until: Option<Instant>,
}

/// The lock is held while asking, so that many who want the same token make one request.
type Slot = Arc<tokio::sync::Mutex<Held>>;

/// The tokens of this run.
#[derive(Debug)]
pub(super) struct EcrTokens {
    profile: Option<String>,
    region: Option<String>,
    slots: Mutex<HashMap<EcrHost, Slot>>,
}

impl EcrTokens {
    /// `profile` and `region` override what the environment and the host's name say.
    pub(super) fn new(profile: Option<String>, region: Option<String>) -> EcrTokens {
        EcrTokens { profile, region, slots: Mutex::new(HashMap::new()) }
    }

    /// A password for `host`, remembered or new.
    pub(super) async fn credentials(&self, host: &EcrHost) -> anyhow::Result<Answer> {
        let host = self.meant(host);
        let slot = self.slot(&host);
        let mut held = slot.lock().await;
        let now = Instant::now();
        if let Some(token) = held.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(Answer::Credentials(token.credentials.clone()));
        }
        if held.nobody_until.is_some_and(|until| now < until) {
            return Ok(Answer::NobodyHere(self.no_credentials(&host, CredentialsError::not_loaded_no_source()).error));
        }
        match self.ask(&host).await {
            Ok(token) => Ok(Answer::Credentials(held.token.insert(token).credentials.clone())),
            Err(refusal) => match held.token.as_ref().filter(|token| now < token.expires_at) {
                // Renewing early must not make things worse than not renewing.
                Some(token) => Ok(Answer::Credentials(token.credentials.clone())),
                None => {
                    held.nobody_until = (refusal.chain == Chain::Empty).then(|| Instant::now() + NOBODY_FOR);
                    match refusal.chain {
                        Chain::Worked => Err(refusal.error),
                        Chain::Empty | Chain::Failed => Ok(Answer::NobodyHere(refusal.error)),
                    }
                }
            },
        }
    }

    /// Drops the token of `host`; `false` when there was none.
    pub(super) fn forget(&self, host: &EcrHost) -> bool {
        let slot = self.slot(&self.meant(host));
        // Someone who holds the lock is asking anew already.
        slot.try_lock().map_or(true, |mut held| held.token.take().is_some())
    }

    fn meant(&self, host: &EcrHost) -> EcrHost {
        let region = self.region.clone().unwrap_or_else(|| host.region.clone());
        EcrHost { region, ..host.clone() }
    }

    fn slot(&self, host: &EcrHost) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(host.clone()).or_default().clone()
    }

    async fn ask(&self, host: &EcrHost) -> Result<Token, Refusal> {
        // The region of the host also serves the STS calls of a role; looking for another one would ask IMDS.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(host.region.clone()))
            .http_client(aws_client::client())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        match config.credentials_provider() {
            Some(provider) => {
                provider.provide_credentials().await.map(drop).map_err(|error| self.no_credentials(host, error))?
            }
            None => return Err(self.no_credentials(host, CredentialsError::not_loaded_no_source())),
        };
        let mut special = aws_sdk_ecr::config::Builder::from(&config);
        special.set_use_fips(host.fips.then_some(true)).set_use_dual_stack(host.dual_stack.then_some(true));
        let asked = SystemTime::now();
        let mut outcome = get_token(special.build(), &host.account).await;
        if let Err(error) = &outcome
            && (host.fips || host.dual_stack)
            && causes(error).contains("custom endpoint")
        {
            // The SDK refuses both at once; whoever names an endpoint by hand has chosen.
            outcome = get_token(aws_sdk_ecr::config::Builder::from(&config).build(), &host.account).await;
        }
        let output = outcome.map_err(|error| Refusal::service(host, &error))?;
        token(&output, asked).ok_or_else(|| Refusal::empty(host))
    }

    fn no_credentials(&self, host: &EcrHost, error: CredentialsError) -> Refusal {
        let profile = self.profile.as_ref().map(|profile| format!(" in profile `{profile}`")).unwrap_or_default();
        if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
            let hint =
                "give the instance a role, set AWS_PROFILE or --aws-profile, or run `docker login` for the registry";
            let why = format!("there are no AWS credentials{profile}");
            return Refusal { chain: Chain::Empty, ..Refusal::new(host, &why, hint) };
        }
        let why = format!("the AWS credentials{profile} could not be loaded: {}", causes(&error));
        let hint = "run `aws sts get-caller-identity` with the same profile and repair what it says";
        Refusal { chain: Chain::Failed, ..Refusal::new(host, &why, hint) }
    }
}

/// An error and its causes in their own words. (The SDK's `DisplayErrorContext` would also show whole responses.)
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !words.contains(&said) {
            words.push(said);
        }
        next = cause.source();
    }
    words.join(": ").chars().take(400).collect()
}

#[expect(deprecated, reason = "ECR ignores the account today; its stand-ins and older endpoints answer per account")]
async fn get_token(
    config: aws_sdk_ecr::Config,
    account: &str,
) -> Result<GetAuthorizationTokenOutput, SdkError<GetAuthorizationTokenError>> {
    aws_sdk_ecr::Client::from_conf(config)
        .get_authorization_token()
        .set_registry_ids(Some(vec![account.to_owned()]))
        .send()
        .await
}

fn token(output: &GetAuthorizationTokenOutput, asked: SystemTime) -> Option<Token> {
    let data = output.authorization_data().first()?;
    let credentials = decode_auth(data.authorization_token()?)?;
    let expires = data.expires_at().and_then(|at| u64::try_from(at.secs()).ok()).unwrap_or(0);
    let lifetime = (SystemTime::UNIX_EPOCH + Duration::from_secs(expires)).duration_since(asked).unwrap_or_default();
    // A token that has expired on arrival (a clock that is wrong, a test double) is used once and asked for again.
    let now = Instant::now();
    let renew_at = now + lifetime.saturating_sub(RENEW_BEFORE.min(lifetime / 2));
    Some(Token { credentials, renew_at, expires_at: now + lifetime })
}

/// How the provider chain fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    Worked,
    /// It holds nothing, and will not in the next minute.
    Empty,
    /// Something in it is broken or out of order.
    Failed,
}

/// Why there is no token.
#[derive(Debug)]
struct Refusal {
    /// Unless it worked, docker's configuration may be asked instead.
    chain: Chain,
    error: anyhow::Error,
}

impl Refusal {
    fn new(host: &EcrHost, why: &str, hint: impl Into<String>) -> Refusal {
        let what = format!("could not get an ECR token for account {} in {}: {why}", host.account, host.region);
        Refusal { chain: Chain::Worked, error: Failure::new(Kind::Environment, what, hint) }
    }

    fn empty(host: &EcrHost) -> Refusal {
        let hint = "check that AWS_ENDPOINT_URL_ECR, if it is set, points at ECR's API";
        Refusal::new(host, "the answer holds no token", hint)
    }

    fn service(host: &EcrHost, error: &SdkError<GetAuthorizationTokenError>) -> Refusal {
        let Some(service) = error.as_service_error() else {
            let hint =
                format!("check the route to ecr.{}: security group, NAT or the ecr.api VPC endpoint", host.region);
            return Refusal::new(host, &format!("ECR's API does not answer: {}", causes(error)), hint);
        };
        let code = service.code().unwrap_or("an unnamed error");
        let said = match service.message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
        let (why, hint) = match code {
            "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => (
                format!("AWS denied it ({said})"),
                "allow ecr:GetAuthorizationToken on `*` for the role or user, and ecr:BatchGetImage and \
                 ecr:GetDownloadUrlForLayer on the repository",
            ),
            "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" => (
                format!("AWS throttled it ({said})"),
                "try again in a minute, or start fewer builders at the same moment",
            ),
            "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => (
                format!("the AWS credentials have expired ({said})"),
                "log in again (`aws sso login`), or renew the session variables",
            ),
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature" => (
                format!("AWS does not accept the credentials ({said})"),
                "check the access key, and the clock of this machine",
            ),
            _ => (said, "run `aws ecr get-login-password` with the same profile and region and repair what it says"),
        };
        Refusal::new(host, &why, hint)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::primitives::DateTime;
    use aws_sdk_ecr::types::AuthorizationData;

    use super::*;

    const HOUR: u64 = 3600;

    fn answer(expires_at: u64) -> GetAuthorizationTokenOutput {
        let data = AuthorizationData::builder()
            .authorization_token("QVdTOnMzY3IzdA==")
            .expires_at(DateTime::from_secs(expires_at as i64))
            .build();
        GetAuthorizationTokenOutput::builder().authorization_data(data).build()
    }

    fn minutes_until_renewal(lifetime: u64) -> u64 {
        let asked = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let token = token(&answer(1_700_000_000 + lifetime), asked).expect("there is one");
        assert_eq!(token.credentials.username, "AWS");
        (token.renew_at - Instant::now()).as_secs().div_ceil(60)
    }

    #[test]
    fn a_token_is_renewed_well_before_it_expires() {
        assert_eq!(minutes_until_renewal(12 * HOUR), 11 * 60);
        assert_eq!(minutes_until_renewal(HOUR), 30);
    }

    #[test]
    fn a_token_that_came_expired_is_good_for_one_use() {
        let token = token(&answer(1_420_070_400), SystemTime::now()).expect("there is one");
        assert!(token.renew_at <= Instant::now() && token.credentials.password.reveal() == "s3cr3t");
    }

    #[test]
    fn an_answer_without_a_token_is_no_token() {
        assert!(token(&GetAuthorizationTokenOutput::builder().build(), SystemTime::now()).is_none());
    }

    #[tokio::test]
    async fn a_remembered_token_is_given_out_per_region_until_it_is_forgotten() {
        let tokens = EcrTokens::new(None, Some("eu-west-1".into()));
        let host = EcrHost::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap();
        let now = Instant::now();
        let until = now + Duration::from_secs(60);
        let credentials = decode_auth("QVdTOnMzY3IzdA==").unwrap();
        let token = Token { credentials, renew_at: until, expires_at: until };
        let held = Held { token: Some(token), nobody_until: None };
        *tokens.slot(&tokens.meant(&host)).lock().await = held;
        match tokens.credentials(&host).await.unwrap() {
            Answer::Credentials(found) => assert_eq!(found.password.reveal(), "s3cr3t"),
            other => panic!("{other:?}"),
        }
        assert!(tokens.forget(&host) && !tokens.forget(&host));
    }
}
