//! What we build on: one version of each library that speaks to the network, and licences that everybody may use.

use std::collections::BTreeMap;
use std::process::Command;

/// Two versions of what speaks to the network are twice the code to trust, and two sets of certificates.
#[test]
fn the_network_is_spoken_to_by_one_version_of_each_library() {
    let lock = include_str!("../../Cargo.lock");
    let name = |line: &str| line.strip_prefix("name = \"").map(|rest| rest.trim_end_matches('"').to_owned());
    let names: Vec<String> = lock.lines().filter_map(name).collect();
    assert!(names.len() > 100, "{} packages are no lock file", names.len());
    for library in ["h2", "http", "hyper", "hyper-rustls", "reqwest", "rustls", "rustls-webpki", "tokio-rustls"] {
        assert_eq!(names.iter().filter(|name| *name == library).count(), 1, "{library}");
    }
}

/// The licences of our dependencies that anybody may link and ship.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "LLVM-exception",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_has_a_licence_that_everybody_may_use() {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let asked = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &target])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{} packages are not all", packages.len());
    let mut refused = BTreeMap::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        let mut words = licence.split([' ', '/', '(', ')']).filter(|word| !["", "AND", "OR", "WITH"].contains(word));
        if !words.all(|word| LICENCES.contains(&word)) {
            refused.insert(package["name"].as_str().unwrap(), licence);
        }
    }
    assert!(refused.is_empty(), "{refused:?}");
}
