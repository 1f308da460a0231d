//! How each registry host is reached: plain or TLS, through which mirrors, trusting whom.
//!
//! Read from the text of `buildkitd.toml`, so that the probe goes the way BuildKit will go. Asks nobody.
//! Sources: `util/resolver/resolver.go` and `config/config.go` of BuildKit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reference::{Reference, api_host};
use crate::failure::{Explain, Kind};

/// `[registry."HOST"]` of `buildkitd.toml`; everything else in that file is BuildKit's business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct RegistryHosts {
    #[serde(default)]
    registry: BTreeMap<String, HostSettings>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct HostSettings {
    #[serde(default)]
    mirrors: Vec<String>,
    http: Option<bool>,
    insecure: Option<bool>,
    #[serde(default)]
    ca: Vec<PathBuf>,
    #[serde(default)]
    keypair: Vec<KeyPair>,
    #[serde(default)]
    tlsconfigdir: Vec<PathBuf>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct KeyPair {
    pub(super) key: PathBuf,
    pub(super) cert: PathBuf,
}

/// Whether a host is spoken to in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
    /// `insecure` and `http` together: whatever it speaks, TLS first.
    Either,
}

/// Whom TLS trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Trust {
    /// Any certificate will do.
    pub(super) anyone: bool,
    /// PEM files beside the system's.
    pub(super) authorities: Vec<PathBuf>,
    /// Folders with `*.crt` (authorities) and `*.cert` with `*.key` (client certificates).
    pub(super) folders: Vec<PathBuf>,
    /// Client certificates.
    pub(super) key_pairs: Vec<KeyPair>,
}

/// One place that may answer for a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// `HOST[:PORT]`; what credentials are asked for.
    pub(super) host: String,
    /// `/v2`, or `/v2/PREFIX` on a mirror.
    pub(super) path: String,
    /// The host it stands in for (`?ns=`); absent for the origin itself.
    pub(super) mirror_of: Option<String>,
    /// Plain or TLS.
    pub(super) scheme: Scheme,
    /// Whom TLS trusts.
    pub(super) trust: Trust,
}

impl RegistryHosts {
    /// Reads the text of a `buildkitd.toml`.
    ///
    /// # Errors
    ///
    /// The text is not TOML, or `registry` has another shape than BuildKit's.
    pub(crate) fn from_toml(text: &str) -> anyhow::Result<RegistryHosts> {
        toml::from_str(text).map_err(anyhow::Error::from)
    }

    /// Reads a `buildkitd.toml`.
    ///
    /// # Errors
    /// Explained: when it cannot be read, or is none.
    pub(crate) fn of_file(path: &Path) -> anyhow::Result<RegistryHosts> {
        let hosts = std::fs::read_to_string(path).map_err(anyhow::Error::from);
        hosts.and_then(|text| RegistryHosts::from_toml(&text)).explain(
            Kind::Usage,
            format!("could not use the buildkitd configuration {}", path.display()),
            "name a readable buildkitd.toml with --buildkitd-config",
        )
    }

    /// Where to ask for `reference`, in order. `insecure` is the import's own `registry.insecure=true`, which makes
    /// BuildKit forget this configuration for the import.
    pub(super) fn endpoints(&self, reference: &Reference, insecure: bool) -> Vec<Endpoint> {
        let name = reference.host();
        if insecure {
            let settings = HostSettings { http: Some(true), insecure: Some(true), ..HostSettings::default() };
            return vec![endpoint(reference.api_host(), "", name, &settings)];
        }
        let nothing = HostSettings::default();
        let settings = self.registry.get(name).unwrap_or(&nothing);
        let mut endpoints = Vec::new();
        for mirror in &settings.mirrors {
            let (host, prefix) = mirror_parts(mirror);
            endpoints.push(endpoint(&host, &prefix, name, self.registry.get(&host).unwrap_or(&nothing)));
        }
        endpoints.push(endpoint(reference.api_host(), "", name, settings));
        endpoints
    }
}

fn endpoint(host: &str, prefix: &str, name: &str, settings: &HostSettings) -> Endpoint {
    let http = settings.http.unwrap_or_else(|| is_loopback(host));
    let insecure = settings.insecure.unwrap_or(false);
    let scheme = match (http, insecure) {
        (true, true) => Scheme::Either,
        (true, false) => Scheme::Http,
        (false, _) => Scheme::Https,
    };
    let trust = Trust {
        anyone: insecure,
        authorities: settings.ca.clone(),
        folders: settings.tlsconfigdir.clone(),
        key_pairs: settings.keypair.clone(),
    };
    let path = if prefix.is_empty() { "/v2".to_owned() } else { format!("/v2/{prefix}") };
    let mirror_of = (host != name && host != api_host(name)).then(|| name.to_owned());
    Endpoint { host: host.to_owned(), path, mirror_of, scheme, trust }
}

/// The host, with its port, and the prefix of a mirror: `HOST[:PORT][/PREFIX]`, possibly with a scheme, which BuildKit ignores.
pub(crate) fn mirror_parts(mirror: &str) -> (String, String) {
    let rest = mirror.split_once("://").map_or(mirror, |(_, rest)| rest);
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    (host.to_owned(), prefix.trim_matches('/').to_owned())
}

/// A host's name or address, without its port and without the brackets of IPv6.
pub(crate) fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => host.split_once(':').filter(|(_, port)| !port.contains(':')).map_or(host, |(name, _)| name),
    }
}

/// Docker's rule for who may be spoken to in the clear: `localhost`, 127.0.0.0/8 and ::1, whatever the port.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoints(toml: &str, reference: &str) -> Vec<Endpoint> {
        let hosts = RegistryHosts::from_toml(toml).expect("it is a configuration");
        hosts.endpoints(&Reference::parse(reference).expect("it is a reference"), false)
    }

    fn scheme(toml: &str, reference: &str) -> Scheme {
        endpoints(toml, reference).pop().expect("the origin is always there").scheme
    }

    #[test]
    fn loopback_is_plain_and_everyone_else_has_tls_unless_told_otherwise() {
        assert_eq!(scheme("", "127.0.0.1:5000/x"), Scheme::Http);
        assert_eq!(scheme("", "127.8.0.1/x"), Scheme::Http);
        assert_eq!(scheme("", "localhost/x"), Scheme::Http);
        assert_eq!(scheme("", "[::1]:5000/x"), Scheme::Http);
        assert_eq!(scheme("", "10.0.0.1:5000/x"), Scheme::Https);
        assert_eq!(scheme("", "localhost.example.com/x"), Scheme::Https);
        assert_eq!(scheme("[registry.'h.io']\nhttp = true", "h.io/x"), Scheme::Http);
        assert_eq!(scheme("[registry.'h.io']\ninsecure = true", "h.io/x"), Scheme::Https);
        assert_eq!(scheme("[registry.'h.io']\ninsecure = true\nhttp = true", "h.io/x"), Scheme::Either);
        assert_eq!(scheme("[registry.'localhost:1']\ninsecure = true", "localhost:1/x"), Scheme::Either);
        assert_eq!(scheme("[registry.'localhost:1']\nhttp = false", "localhost:1/x"), Scheme::Https);
        // The port belongs to the name.
        assert_eq!(scheme("[registry.'h.io']\nhttp = true", "h.io:5000/x"), Scheme::Https);
    }

    #[test]
    fn mirrors_come_first_with_their_own_settings_and_say_whom_they_stand_in_for() {
        let toml = "debug = true\n[registry.'docker.io']\nmirrors = ['m.io:5/proxy/', 'https://n.io']\n\
                    [registry.'m.io:5']\nhttp = true\nca = ['/ca.pem']\n[[registry.'m.io:5'.keypair]]\n\
                    key = 'k'\ncert = 'c'\n[worker.oci]\ngc = false\n";
        let found = endpoints(toml, "busybox");
        let places: Vec<_> = found.iter().map(|e| format!("{}{} {:?}", e.host, e.path, e.mirror_of)).collect();
        assert_eq!(
            places,
            ["m.io:5/v2/proxy Some(\"docker.io\")", "n.io/v2 Some(\"docker.io\")", "registry-1.docker.io/v2 None"]
        );
        assert_eq!((found[0].scheme, found[1].scheme), (Scheme::Http, Scheme::Https));
        assert_eq!((found[0].trust.authorities.len(), found[0].trust.key_pairs.len()), (1, 1));
    }

    #[test]
    fn an_import_marked_insecure_takes_whatever_the_origin_speaks_and_no_mirror() {
        let hosts = RegistryHosts::from_toml("[registry.'h.io']\nmirrors = ['m.io']").unwrap();
        let found = hosts.endpoints(&Reference::parse("h.io/x").unwrap(), true);
        assert_eq!((found.len(), found[0].scheme, found[0].trust.anyone), (1, Scheme::Either, true));
    }

    #[test]
    fn a_registry_table_of_another_shape_is_refused() {
        assert!(RegistryHosts::from_toml("[registry.'h.io']\nmirrors = 'm.io'").is_err());
        assert!(RegistryHosts::from_toml("registry = [").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,120}") {
            let _ = RegistryHosts::from_toml(&text);
            let _ = is_loopback(&text);
            let _ = mirror_parts(&text);
        }
    }
}
