//! Where the builder is: `--builder`.

mod dialed;

use std::path::PathBuf;
use std::str::FromStr;

pub(super) use dialed::Dialed;

/// The name of a container that is created when none is given.
pub(super) const CONTAINER: &str = "cachewarm";

/// A builder's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// The first that is there: `BUILDKIT_HOST`, the usual socket, else a daemon of our own, by Docker if need be.
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
    /// `docker-container[://NAME]`: a buildkitd in a container; one that is there, or a new one on the state root.
    Container(String),
    /// `docker`: the BuildKit inside dockerd.
    Docker,
    /// `buildx://NAME`: a builder of docker buildx.
    Buildx(String),
    /// `ssh://HOST` and the like: a running buildkitd that a program of another tool leads to.
    Dialed(Dialed),
}

/// What `--builder` takes, for messages.
pub(crate) const ADDRESS_FORMS: &str = "auto, unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, buildx://NAME, ssh://HOST, podman-container://NAME, nerdctl-container://NAME, kube-pod://NAME, spawn or spawn:/PATH/TO/buildkitd";

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
            "docker" => return Ok(Address::Docker),
            "docker-container" => return Ok(Address::Container(CONTAINER.to_owned())),
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
        if let Some(name) = text.strip_prefix("docker-container://") {
            let rest = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
            let fits = name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphanumeric());
            return match fits && name.chars().all(rest) {
                true => Ok(Address::Container(name.to_owned())),
                false => Err(format!("`{text}` names no container")),
            };
        }
        if let Some(name) = text.strip_prefix("buildx://") {
            let is_name = !name.is_empty() && !name.contains(['/', ' ']);
            return if is_name {
                Ok(Address::Buildx(name.to_owned()))
            } else {
                Err(format!("`{text}` names no builder"))
            };
        }
        match Dialed::parse(text) {
            Some(dialed) => dialed.map(Address::Dialed),
            None => Err(format!("`{text}` is not a builder address")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written() {
        assert_eq!("unix:///run/x.sock".parse(), Ok(Address::Unix("/run/x.sock".into())));
        assert_eq!("spawn:/opt/buildkitd".parse(), Ok(Address::Spawn(Some("/opt/buildkitd".into()))));
        assert_eq!("tcp://h:1".parse(), Ok(Address::Tcp { host: "h".into(), port: 1 }));
        assert_eq!("tcp://[::1]:1234".parse(), Ok(Address::Tcp { host: "::1".into(), port: 1234 }));
        for wrong in
            ["tcp://h", "tcp://:1", "tcp://h:x", "tcp://::1:1234", "tcp://u@h:1", "tcp://h:1/path", "tcp://h:70000"]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        assert_eq!("docker".parse(), Ok(Address::Docker));
        assert_eq!("buildx://ci".parse(), Ok(Address::Buildx("ci".into())));
        assert!("buildx://".parse::<Address>().is_err() && "buildx://a/b".parse::<Address>().is_err());
        assert_eq!("docker-container".parse(), Ok(Address::Container("cachewarm".into())));
        assert_eq!("docker-container://my_builder.1".parse(), Ok(Address::Container("my_builder.1".into())));
        for wrong in ["docker-container://", "docker-container://x", "docker-container://-x", "docker-container://a/b"]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        assert_eq!("ftp://h".parse::<Address>(), Err("`ftp://h` is not a builder address".into()));
        assert!("unix://relative".parse::<Address>().is_err());
    }
}
