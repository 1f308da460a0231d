//! AWS as cachewarm sees it: moto's API for tokens, and a registry behind its login under a real ECR host name.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

use super::faults::Pace;
use super::ground::{self, CACHE};
use super::{Fault, Faults, Registry, World};

/// The account's registry in Ireland.
pub(crate) const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// The password in moto's token.
pub(crate) const PASSWORD: &str = "123456789012-auth-token";

/// A world's own ECR.
#[derive(Debug)]
pub(crate) struct Ecr {
    /// What the API is asked, and its faults.
    pub(crate) api: Faults,
    /// What the registry is asked, and its faults.
    pub(crate) front: Faults,
    _registry: Registry,
}

impl Ecr {
    /// An ECR that takes moto's tokens; the world's cachewarm has credentials for it.
    pub(crate) fn of(world: &mut World) -> Ecr {
        Ecr::taking(world, PASSWORD)
    }

    /// As [`Ecr::of`]; the registry takes this password.
    pub(crate) fn taking(world: &mut World, password: &str) -> Ecr {
        let registry = Registry::behind_login(&world.path("ecr"), &ground::data(), password);
        let front = Faults::listen(free_port_80(), registry.address(), Pace::default()).unwrap();
        let api = Faults::before(ground::moto());
        world.resolve(&front.address().ip().to_string(), HOST);
        world.configure_builder(&format!("[registry.\"{HOST}\"]\n  http = true\n"));
        world.set("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
        world.set("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        world.set("AWS_ENDPOINT_URL_ECR", &format!("http://{}", api.address()));
        world.set("AWS_EC2_METADATA_DISABLED", "true");
        Ecr { api, front, _registry: registry }
    }

    /// The API's answer: an error, as the service words it.
    pub(crate) fn refusal(kind: &str, message: &str) -> Fault {
        let text = format!(r#"{{"__type": "{kind}", "message": "{message}"}}"#);
        Fault::Answer(400, "Content-Type: application/x-amz-json-1.1\r\n", text)
    }

    /// The API's answer: a token with this password, good for twelve hours. (Moto's always ended in 2015.)
    pub(crate) fn token(password: &str) -> Fault {
        use base64::Engine;
        let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{password}"));
        let expires = jiff::Timestamp::now().as_second() + 12 * 3600;
        let text = format!(
            r#"{{"authorizationData": [{{"authorizationToken": "{token}", "expiresAt": {expires}, "proxyEndpoint": "https://{HOST}"}}]}}"#
        );
        Fault::Answer(200, "Content-Type: application/x-amz-json-1.1\r\n", text)
    }

    /// The registry's answer to a token that has expired: 403, and no `WWW-Authenticate`.
    pub(crate) fn expired() -> Fault {
        let message = "Your authorization token has expired. Reauthenticate and try again.";
        let text = format!(r#"{{"errors": [{{"code": "DENIED", "message": "{message}"}}]}}"#);
        Fault::Answer(403, "Content-Type: application/json\r\n", text)
    }

    /// The sample's cache there.
    pub(crate) fn donor(&self) -> String {
        format!("{HOST}/{}:{}", CACHE.0, CACHE.1)
    }
}

/// Port 80 of a loopback address nobody else has: host names carry no port.
fn free_port_80() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    loop {
        let [low, high, ..] = std::process::id().to_le_bytes();
        let address = SocketAddr::from(([127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)], 80));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
