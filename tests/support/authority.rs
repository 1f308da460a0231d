//! Certificates, made by openssl.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::registry::made;

/// An authority and what it vouches for, as PEM files in a folder.
#[derive(Debug)]
pub(crate) struct Authority(PathBuf);

impl Authority {
    /// A new one; its own certificate is `ca.pem`.
    pub(crate) fn new(folder: PathBuf) -> Authority {
        made(folder.clone());
        let authority = Authority(folder);
        authority
            .openssl(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"], "ca");
        authority
    }

    /// The path of one of its files.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn openssl(&self, arguments: &[&str], name: &str) {
        let keys = ["-keyout", &self.file(&format!("{name}.key")), "-out", &self.file(&format!("{name}.pem"))];
        let made = Command::new("openssl").args(arguments).args(keys).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// A certificate for these names, valid for so many days from now; of a past that is over when there are fewer.
    pub(crate) fn vouch(&self, name: &str, names: &str, days: i32) {
        self.openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"], name);
        fs::rename(self.0.join(format!("{name}.pem")), self.0.join(format!("{name}.csr"))).unwrap();
        fs::write(self.0.join("extensions"), format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n")).unwrap();
        let mut sign = Command::new("openssl");
        sign.args(["x509", "-req", "-in", &self.file(&format!("{name}.csr")), "-CA", &self.file("ca.pem")]);
        sign.args(["-CAkey", &self.file("ca.key"), "-days", &days.to_string(), "-extfile", &self.file("extensions")]);
        let signed = sign.args(["-out", &self.file(&format!("{name}.pem"))]).output().unwrap();
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    }
}
