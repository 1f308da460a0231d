//! A buildkitd that listens on TCP, in the clear on this machine or with TLS anywhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::buildkit::refusal;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::failure::{Explain, Failure, Kind};
use crate::registry::is_loopback;

/// A host that does not answer at all should not hold us.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Whom to trust, and who we are; under docker's and buildctl's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    /// `--tlscacert`: PEM of the authority the daemon's certificate is from; the system's ones when absent.
    pub(crate) authority: Option<PathBuf>,
    /// `--tlscert`: PEM of our certificate.
    pub(crate) certificate: Option<PathBuf>,
    /// `--tlskey`: PEM of its key.
    pub(crate) key: Option<PathBuf>,
    /// `--tlsservername`: the name in the daemon's certificate, where it is not the host's.
    pub(crate) server_name: Option<String>,
    /// `--insecure-tcp`: no TLS is fine beyond this machine too.
    pub(crate) may_be_plain: bool,
}

impl Tls {
    fn is_wanted(&self) -> bool {
        self.authority.is_some() || self.certificate.is_some() || self.key.is_some() || self.server_name.is_some()
    }

    fn config(&self) -> anyhow::Result<ClientTlsConfig> {
        let mut config = match &self.authority {
            Some(authority) => {
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(authority, "tlscacert")?))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                config = config.identity(Identity::from_pem(read(certificate, "tlscert")?, read(key, "tlskey")?));
            }
            (None, None) => {}
            _ => {
                return Err(Failure::new(
                    Kind::Usage,
                    "could not use one of --tlscert and --tlskey without the other",
                    "give both: a client's certificate is nothing without its key",
                ));
            }
        }
        Ok(match &self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        })
    }
}

fn read(file: &Path, flag: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).explain(
        Kind::Usage,
        format!("could not read {}", file.display()),
        format!("name a readable PEM file with --{flag}"),
    )
}

/// Connects to the daemon.
///
/// # Errors
/// Explained: when nobody listens there, TLS does not come about, or would be missing.
pub(super) async fn dial(host: &str, port: u16, tls: &Tls) -> anyhow::Result<Channel> {
    let address = shown(host, port);
    if !tls.is_wanted() && !tls.may_be_plain && !is_loopback(host) {
        return Err(Failure::new(
            Kind::Usage,
            format!("could not use the builder at {address}: without TLS anyone on the way could read and change it"),
            "give --tlscacert, --tlscert and --tlskey, or --insecure-tcp where the network is to be trusted",
        ));
    }
    let what = format!("could not reach the builder at {address}");
    let scheme = if tls.is_wanted() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", &address["tcp://".len()..]))
        .explain(Kind::Usage, what.as_str(), "write tcp://HOST:PORT")?
        .connect_timeout(CONNECT_TIMEOUT);
    let endpoint = refusal::endpoint(endpoint);
    let endpoint = if tls.is_wanted() {
        endpoint.tls_config(tls.config()?).explain(Kind::Usage, what.as_str(), NO_PEM)?
    } else {
        endpoint
    };
    endpoint.connect().await.map_err(anyhow::Error::from).map_err(|error| {
        let hint = hint(&error).unwrap_or("check that a buildkitd listens there, and what is between");
        Failure::because(error, Kind::Environment, what, hint)
    })
}

/// As it is written: `tcp://HOST:PORT`.
pub(super) fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("tcp://[{host}]:{port}") } else { format!("tcp://{host}:{port}") }
}

const NO_PEM: &str = "check that --tlscacert, --tlscert and --tlskey name PEM files that belong together";

/// For whoever got through and was then left without an answer: a daemon that does not accept a certificate closes the
/// connection, and its alert is lost when our first words are on their way already.
pub(super) const UNANSWERED: &str = "check that a buildkitd of v0.12 or later listens there; one with TLS hangs up on whom it does not \
     know: check --tlscert and --tlskey";
const WRONG_AUTHORITY: &str = "name the authority of the daemon's certificate with --tlscacert";

/// What TLS complains of in an error, as something to do. The words are those of rustls and of its alerts.
pub(super) fn hint(error: &anyhow::Error) -> Option<&'static str> {
    let words: String = error.chain().map(|cause| format!("{cause} {cause:?} ")).collect();
    let known = [
        ("UnknownIssuer", WRONG_AUTHORITY),
        ("BadSignature", WRONG_AUTHORITY),
        ("Expired", "the daemon's certificate has expired, or this machine's clock is wrong: renew it there"),
        ("NotValidYet", "the daemon's certificate is not valid yet, or this machine's clock is wrong"),
        ("NotValidForName", "name the host as its certificate does, or give that name with --tlsservername"),
        ("CertificateRequired", "the daemon wants to know who we are: give --tlscert and --tlskey"),
        ("BadCertificate", "the daemon does not accept our certificate: check --tlscert and --tlskey"),
        ("UnknownCA", "the daemon does not know the authority of our certificate: check --tlscert"),
        ("HandshakeFailure", "the daemon does not accept our certificate: check --tlscert and --tlskey"),
        ("InvalidContentType", "it speaks without TLS there: leave out the --tls flags"),
    ];
    known.into_iter().find(|(word, _)| words.contains(word)).map(|(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_tcp_stays_on_this_machine_unless_that_is_said_to_be_fine() {
        let error = dial("builder.example", 1234, &Tls::default()).await.unwrap_err();
        assert!(format!("{error:#}").contains("could not use the builder at tcp://builder.example:1234: without TLS"));
        assert!(is_loopback("localhost") && is_loopback("127.8.0.1") && is_loopback("::1"));
        assert!(!is_loopback("10.0.0.1") && !is_loopback("localhost.example"));
        assert_eq!(shown("::1", 5), "tcp://[::1]:5");
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let tls = Tls { certificate: Some("/etc/hostname".into()), ..Tls::default() };
        assert!(format!("{:#}", tls.config().unwrap_err()).contains("without the other"));
        let tls = Tls { authority: Some("/nowhere/ca.pem".into()), ..Tls::default() };
        assert!(Failure::of(&tls.config().unwrap_err()).is_some_and(|failure| failure.hint.contains("--tlscacert")));
    }
}
