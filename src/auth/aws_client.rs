//! The SDK's HTTP client. Its own sends all through the proxies of the environment: the metadata service of the instance too,
//! which answers nobody else, and whose answers are keys.

use std::net::IpAddr;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// A client that goes by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, and to this machine and its metadata service directly.
pub(super) fn client() -> SharedHttpClient {
    http_client_fn(|settings, components| {
        let connector = || -> ConnectorBuilder {
            let mut connector = Connector::builder();
            connector.set_connector_settings(Some(settings.clone())).set_sleep_impl(components.sleep_impl());
            connector
        };
        let tls = Provider::Rustls(CryptoMode::AwsLc);
        SharedHttpConnector::new(Ways {
            direct: connector().tls_provider(tls.clone()).build(),
            proxied: connector().proxy_config(ProxyConfig::from_env()).tls_provider(tls).build(),
        })
    })
}

#[derive(Debug)]
struct Ways {
    direct: Connector,
    proxied: Connector,
}

impl HttpConnector for Ways {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if is_of_machine(request.uri()) { self.direct.call(request) } else { self.proxied.call(request) }
    }
}

/// Whether an address is of the machine itself: loopback, or the link-local ones of EC2, ECS and EKS for credentials.
fn is_of_machine(uri: &str) -> bool {
    let Some(host) = uri.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) else { return false };
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.segments()[..2] == [0xfd00, 0x0ec2],
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_machine;

    #[test]
    fn what_gives_keys_to_this_machine_alone_is_asked_directly() {
        let machine =
            ["http://169.254.169.254/latest/api/token", "http://[fd00:ec2::254]/", "http://169.254.170.23/v1"];
        assert_eq!(machine.map(is_of_machine), [true; 3]);
        assert_eq!(["http://localhost:80/", "http://127.0.0.9:1/", "http://[::1]/"].map(is_of_machine), [true; 3]);
        let elsewhere = ["https://api.ecr.eu-west-1.amazonaws.com/", "http://10.0.0.1/", "http://[fd00:1::1]/", "?"];
        assert_eq!(elsewhere.map(is_of_machine), [false; 4]);
    }
}
