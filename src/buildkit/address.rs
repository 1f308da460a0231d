//! Where the builder is: `--builder`.

use std::path::PathBuf;
use std::str::FromStr;

/// A builder's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// The first that is there: `BUILDKIT_HOST`, the usual socket, else a daemon of our own.
    Auto,
    /// `unix://PATH`: a running buildkitd.
    Unix(PathBuf),
    /// `tcp://HOST:PORT`: a running buildkitd, perhaps on another machine.
    Tcp {
        /// Its name or address; one of IPv6 without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// `spawn[:PATH]`: a private buildkitd on the state root, started and stopped by us; PATH is its binary.
    Spawn(Option<PathBuf>),
}

/// What `--builder` takes today, for messages.
pub(crate) const ADDRESS_FORMS: &str = "auto, unix:///PATH, tcp://HOST:PORT, spawn or spawn:/PATH/TO/buildkitd";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let absolute = |path: &str| {
            let path = PathBuf::from(path);
            if path.is_absolute() { Ok(path) } else { Err(format!("`{text}` needs an absolute path")) }
        };
        match text {
            "auto" => return Ok(Address::Auto),
            "spawn" => return Ok(Address::Spawn(None)),
            _ => {}
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return absolute(path).map(Address::Unix);
        }
        if let Some(place) = text.strip_prefix("tcp://") {
            let (host, port) = place.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port"))?;
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
            let host = bare.unwrap_or(host).to_owned();
            let wrong = host.is_empty() || host.contains(['/', '@', ' ']) || (bare.is_none() && host.contains(':'));
            return if wrong { Err(format!("`{text}` names no host")) } else { Ok(Address::Tcp { host, port }) };
        }
        if let Some(path) = text.strip_prefix("spawn:") {
            return absolute(path).map(|path| Address::Spawn(Some(path)));
        }
        if text == "docker" || text.starts_with("docker-container://") {
            return Err(format!("builders like `{text}` are not supported yet"));
        }
        Err(format!("`{text}` is not a builder address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written_and_the_ones_to_come_are_refused_by_name() {
        assert_eq!("unix:///run/x.sock".parse(), Ok(Address::Unix("/run/x.sock".into())));
        assert_eq!("spawn:/opt/buildkitd".parse(), Ok(Address::Spawn(Some("/opt/buildkitd".into()))));
        assert_eq!("tcp://h:1".parse(), Ok(Address::Tcp { host: "h".into(), port: 1 }));
        assert_eq!("tcp://[::1]:1234".parse(), Ok(Address::Tcp { host: "::1".into(), port: 1234 }));
        for wrong in
            ["tcp://h", "tcp://:1", "tcp://h:x", "tcp://::1:1234", "tcp://u@h:1", "tcp://h:1/path", "tcp://h:70000"]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        assert_eq!("docker".parse::<Address>(), Err("builders like `docker` are not supported yet".into()));
        assert_eq!("ftp://h".parse::<Address>(), Err("`ftp://h` is not a builder address".into()));
        assert!("unix://relative".parse::<Address>().is_err());
    }
}
