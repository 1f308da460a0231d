//! Builders that a program of another tool leads to: `ssh://`, `podman-container://`, `nerdctl-container://`, `kube-pod://`.
//! Their addresses, and what that program is told, are those of BuildKit's own client (`client/connhelper` of BuildKit).
//!
//! **Invariant:** what is told to a shell on the way has no character that means anything to one, and nothing of an address
//! is taken for an option.

/// A builder, and the program that leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dialed {
    /// The scheme of its address.
    pub(crate) kind: &'static str,
    /// Its address, as it was written.
    pub(crate) address: String,
    /// The program, which is looked for in `PATH`.
    pub(crate) program: &'static str,
    /// What it is told; its standard streams are the connection then.
    pub(crate) arguments: Vec<String>,
}

const BUILDCTL: [&str; 2] = ["buildctl", "dial-stdio"];

impl Dialed {
    /// A builder at an address of these kinds; nothing for another one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Option<Result<Dialed, String>> {
        let (scheme, rest) = text.split_once("://")?;
        let (kind, program, arguments) = match scheme {
            "ssh" => ("ssh", "ssh", ssh(rest)),
            "podman-container" => ("podman-container", "podman", podman(rest)),
            "nerdctl-container" => ("nerdctl-container", "nerdctl", nerdctl(rest)),
            "kube-pod" => ("kube-pod", "kubectl", kubectl(rest)),
            _ => return None,
        };
        let dialed = |arguments| Dialed { kind, address: text.to_owned(), program, arguments };
        Some(arguments.map(dialed).map_err(|why| format!("`{text}` {why}")))
    }
}

/// `USER@HOST:PORT/SOCKET`, of which the host is needed.
fn ssh(rest: &str) -> Result<Vec<String>, String> {
    let (authority, socket) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if user.is_some_and(|user| user.contains(':')) {
        return Err("has a password, which ssh takes from nobody".to_owned());
    }
    let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("has a port that is none".to_owned());
    }
    let is_host = |host: &str| is_plain(host, "._-:%");
    if !is_host(host) || user.is_some_and(|user| !is_plain(user, "._-")) {
        return Err("names no host".to_owned());
    }
    let mut words = Vec::new();
    words.extend(user.into_iter().flat_map(|user| ["-l", user]));
    words.extend(port.into_iter().flat_map(|port| ["-p", port]));
    words.extend(["--", host, "buildctl"]);
    let socket = socket.trim_end_matches('/');
    if !socket.chars().all(|character| character.is_ascii_alphanumeric() || "/._-+,@:=".contains(character)) {
        return Err("has a socket that a shell would take for something else".to_owned());
    }
    let address = format!("unix://{socket}");
    if !socket.is_empty() {
        words.extend(["--addr", &address]);
    }
    words.push("dial-stdio");
    Ok(words.into_iter().map(str::to_owned).collect())
}

fn podman(rest: &str) -> Result<Vec<String>, String> {
    let (name, []) = named(rest, [])?;
    Ok(words(&[&["exec", "-i", &name], &BUILDCTL]))
}

fn nerdctl(rest: &str) -> Result<Vec<String>, String> {
    let (name, [namespace]) = named(rest, ["namespace"])?;
    let options = namespace.as_deref().map_or(Vec::new(), |namespace| vec!["--namespace", namespace]);
    Ok(words(&[&["exec"], &options, &["-i", &name], &BUILDCTL]))
}

fn kubectl(rest: &str) -> Result<Vec<String>, String> {
    let (pod, [context, namespace, container]) = named(rest, ["context", "namespace", "container"])?;
    let option = |name: &str, value: Option<String>| format!("--{name}={}", value.unwrap_or_default());
    let (context, namespace) = (option("context", context), option("namespace", namespace));
    let container = option("container", container);
    Ok(words(&[&[&context, &namespace, "exec", &container, "-i", &pod, "--"], &BUILDCTL]))
}

fn words(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().into_iter().map(str::to_owned).collect()
}

/// `NAME?KEY=VALUE&…` with these keys.
fn named<const N: usize>(rest: &str, keys: [&str; N]) -> Result<(String, [Option<String>; N]), String> {
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !is_plain(name, "._-") {
        return Err("names no container".to_owned());
    }
    let mut values = keys.map(|_| None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = keys.iter().position(|known| *known == key);
        let Some(place) = place else { return Err(format!("has `{key}`, which nobody knows")) };
        let value = decoded(value).filter(|value| value.is_empty() || is_plain(value, "._-:/@"));
        let Some(value) = value else { return Err(format!("has a {key} that is none")) };
        values[place] = Some(value).filter(|value| !value.is_empty());
    }
    Ok((name.to_owned(), values))
}

/// Whether it is a name of letters, digits and those characters, and no option.
fn is_plain(name: &str, more: &str) -> bool {
    let is_one = |character: char| character.is_ascii_alphanumeric() || more.contains(character);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(is_one)
}

/// A value of a query, percent-decoded.
fn decoded(value: &str) -> Option<String> {
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(address: &str) -> Result<String, String> {
        let dialed = Dialed::parse(address).expect("it is one")?;
        assert_eq!(dialed.address, address);
        Ok([&[dialed.program.to_owned()], dialed.arguments.as_slice()].concat().join(" "))
    }

    /// As `client/connhelper` of BuildKit has it.
    #[test]
    fn each_program_is_told_what_buildctl_tells_it() {
        let told = |address| told(address).expect("it is sound");
        assert_eq!(told("ssh://host"), "ssh -- host buildctl dial-stdio");
        assert_eq!(told("ssh://me@host:22"), "ssh -l me -p 22 -- host buildctl dial-stdio");
        assert_eq!(told("ssh://[::1]:22/run/b.sock"), "ssh -p 22 -- ::1 buildctl --addr unix:///run/b.sock dial-stdio");
        assert_eq!(told("podman-container://b"), "podman exec -i b buildctl dial-stdio");
        assert_eq!(told("nerdctl-container://b"), "nerdctl exec -i b buildctl dial-stdio");
        let namespaced = "nerdctl exec --namespace k8s.io -i b buildctl dial-stdio";
        assert_eq!(told("nerdctl-container://b?namespace=k8s.io"), namespaced);
        let plain = "kubectl --context= --namespace= exec --container= -i pod -- buildctl dial-stdio";
        assert_eq!(told("kube-pod://pod"), plain);
        let all = "kube-pod://pod?context=arn%3Aaws:eks:eu-west-1:1:cluster/ci&namespace=build&container=buildkitd";
        assert_eq!(
            told(all),
            "kubectl --context=arn:aws:eks:eu-west-1:1:cluster/ci --namespace=build exec --container=buildkitd -i pod -- buildctl dial-stdio"
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for wrong in [
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://me:secret@host",
            "ssh://host:port",
            "ssh://host/run/$(id)",
            "ssh://a b",
            "podman-container://",
            "podman-container://-x",
            "podman-container://a/b",
            "podman-container://a?x=y",
            "nerdctl-container://a?namespace=--all",
            "kube-pod://pod?namespace=%zz",
            "kube-pod://pod?contxt=a",
        ] {
            assert!(told(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Dialed::parse("tcp://h:1"), None);
    }

    proptest! {
        #[test]
        fn no_address_is_too_odd(scheme in "(ssh|kube-pod|nerdctl-container)", rest in ".{0,40}") {
            let _ = Dialed::parse(&format!("{scheme}://{rest}"));
        }
    }
}
