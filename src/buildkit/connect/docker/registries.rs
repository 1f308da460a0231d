//! How dockerd reaches registries, told as a buildkitd.toml: dockerd makes its own BuildKit's configuration of the same.
//!
//! Source: `RegistryHosts` in `daemon/hosts.go` and `registry/config.go` of moby.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bollard::models::RegistryServiceConfig;
use ipnet::IpNet;
use toml::{Table, Value};

use super::{Engine, refused};
use crate::registry::{RegistryHosts, mirror_parts, without_port};

/// Where dockerd looks for the authorities and certificates of hosts.
const CERTIFICATES: &str = "/etc/docker/certs.d";
/// The same below the home of a user who runs it without root.
const OF_A_USER: &str = ".config/docker/certs.d";

impl Engine {
    /// The `[registry]` tables of what this daemon knows of these hosts: mirrors of docker.io, `insecure-registries`, and
    /// where it runs on this machine `certs.d`.
    ///
    /// # Errors
    /// Explained: when it does not say.
    pub(in crate::buildkit::connect) async fn registries(
        &self,
        hosts: &[&str],
        home: Option<&Path>,
    ) -> anyhow::Result<RegistryHosts> {
        let what = || format!("could not ask {} at {} how it reaches registries", self.version, self.endpoint);
        let info = self.docker.info().await.map_err(|error| refused(error, what(), "look at what dockerd says"))?;
        let is_rootless = info.security_options.iter().flatten().any(|option| option == "name=rootless");
        let certificates = match (self.is_here(), is_rootless) {
            (false, _) => None,
            (true, false) => Some(PathBuf::from(CERTIFICATES)),
            (true, true) => home.map(|home| home.join(OF_A_USER)),
        };
        let known = info.registry_config.unwrap_or_default();
        let mut addresses = Vec::new();
        for host in hosts {
            // Docker asks for the addresses of a name as well.
            let found = tokio::net::lookup_host((without_port(host), 0)).await;
            addresses.push((*host, found.into_iter().flatten().map(|address| address.ip()).collect::<Vec<IpAddr>>()));
        }
        RegistryHosts::from_toml(&tables(&known, &addresses, certificates.as_deref()).to_string())
    }
}

fn tables(known: &RegistryServiceConfig, hosts: &[(&str, Vec<IpAddr>)], certificates: Option<&Path>) -> Table {
    let networks = known.insecure_registry_cidrs.iter().flatten().filter_map(|network| network.parse::<IpNet>().ok());
    let networks: Vec<IpNet> = networks.collect();
    let mut registries = Table::new();
    let mirrors: Vec<Value> = known.mirrors.iter().flatten().cloned().map(Value::String).collect();
    let of_mirrors = mirrors.iter().filter_map(Value::as_str).map(|mirror| (mirror_parts(mirror).0, Vec::new()));
    let asked = hosts.iter().map(|(host, addresses)| ((*host).to_owned(), addresses.clone()));
    for (host, addresses) in of_mirrors.chain(asked) {
        let listed = known.index_configs.as_ref().and_then(|all| all.get(&host)).and_then(|index| index.secure);
        let is_within = || addresses.iter().any(|address| networks.iter().any(|network| network.contains(address)));
        let mut settings = Table::new();
        if !listed.unwrap_or_else(|| !is_within()) {
            settings.extend([("http".to_owned(), true.into()), ("insecure".to_owned(), true.into())]);
        }
        if let Some(folder) = certificates.map(|folder| folder.join(&host)).filter(|folder| folder.is_dir()) {
            let folder = folder.to_string_lossy().into_owned();
            settings.insert("tlsconfigdir".into(), Value::Array(vec![folder.into()]));
        }
        registries.insert(host, Value::Table(settings));
    }
    if !mirrors.is_empty() {
        let hub = registries.entry("docker.io").or_insert_with(|| Value::Table(Table::new()));
        hub.as_table_mut().map(|hub| hub.insert("mirrors".into(), Value::Array(mirrors)));
    }
    Table::from_iter([("registry".to_owned(), Value::Table(registries))])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::IndexInfo;

    use super::*;

    #[test]
    fn a_daemon_s_mirrors_networks_and_certificates_are_told_as_buildkits_own() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ca.example:5000")).unwrap();
        let index = |secure| IndexInfo { secure: Some(secure), ..IndexInfo::default() };
        let indexes = [("docker.io", index(true)), ("open.example", index(false)), ("10.9.0.1", index(true))];
        let known = RegistryServiceConfig {
            insecure_registry_cidrs: Some(vec!["10.9.0.0/16".into(), "no network".into()]),
            index_configs: Some(HashMap::from(indexes.map(|(host, index)| (host.to_owned(), index)))),
            mirrors: Some(vec!["http://m.example:5/".into()]),
        };
        let hosts = ["open.example", "ca.example:5000", "10.9.8.7:1", "10.9.0.1", "other.example"];
        let address = |host: &str| without_port(host).parse::<IpAddr>().into_iter().collect();
        let hosts = hosts.map(|host| (host, address(host)));

        let tables = tables(&known, &hosts, Some(folder.path()));

        let all = tables["registry"].as_table().unwrap();
        let open = |host: &str| (all[host].get("http").is_some(), all[host].get("insecure").is_some());
        assert_eq!((open("open.example"), open("10.9.8.7:1")), ((true, true), (true, true)));
        // What is listed by name is as that says.
        assert_eq!([open("10.9.0.1"), open("other.example"), open("m.example:5")], [(false, false); 3]);
        assert!(all["ca.example:5000"]["tlsconfigdir"][0].as_str().unwrap().ends_with("/ca.example:5000"));
        assert_eq!(all["docker.io"]["mirrors"][0].as_str(), Some("http://m.example:5/"));
        RegistryHosts::from_toml(&tables.to_string()).unwrap();
    }

    #[test]
    fn a_host_s_name_has_no_port() {
        assert_eq!(["[::1]:5000", "a.example", "a.example:1"].map(without_port), ["::1", "a.example", "a.example"]);
    }
}
