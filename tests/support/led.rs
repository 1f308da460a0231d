//! Builders that a program of another tool leads to: a real ssh and sshd, a real podman; stand-ins for nerdctl and kubectl,
//! which need a containerd or a cluster of their own. A stand-in holds what it is told against what BuildKit's client tells the
//! real one, and then connects to a buildkitd of this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::ground::tool;
use super::process::{self, Process};
use super::registry::made;
use super::sshd::{ALIAS, Sshd};
use super::{Builder, World, podman, wait_until};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Ssh,
    Podman,
    Nerdctl,
    Kubectl,
}

/// A builder at the end of a line, on the world's root.
#[derive(Debug)]
pub(crate) struct Led {
    address: String,
    /// What the command line of the program has in it.
    line: String,
    behind: Behind,
}

#[derive(Debug)]
enum Behind {
    Daemon { builder: Builder, folder: PathBuf, root: PathBuf, config: PathBuf, _server: Option<Sshd> },
    Container { name: String, folder: PathBuf, _service: Process },
}

impl Led {
    /// Starts it; `name` is that of its container, if it is in one.
    pub(crate) fn start(world: &mut World, tool: Tool, name: &str) -> Led {
        if tool == Tool::Podman {
            let folder = world.path("podman");
            let service = podman::start(&folder);
            podman::run_builder(&folder, name, &world.root(), &world.config());
            world.set("CONTAINER_HOST", &podman::host(&folder));
            let (address, line) = (format!("podman-container://{name}"), format!("exec -i {name} buildctl"));
            let behind = Behind::Container { name: name.to_owned(), folder, _service: service };
            return Led { address, line, behind };
        }
        let (folder, root, config) = (world.path("daemon"), world.root(), world.config());
        let builder = Builder::start(&folder, &root, &config);
        let socket = builder.socket();
        let line = format!("unix://{} dial-stdio", socket.display());
        let (address, server) = match tool {
            Tool::Nerdctl => {
                stand_in(world, "nerdctl", "exec --namespace ci -i builder", &socket);
                ("nerdctl-container://builder?namespace=ci".to_owned(), None)
            }
            Tool::Kubectl => {
                stand_in(world, "kubectl", "--context=eks:1 --namespace=ci exec --container= -i builder-0 --", &socket);
                ("kube-pod://builder-0?context=eks%3A1&namespace=ci".to_owned(), None)
            }
            _ => {
                let server = Sshd::start(world, self::tool("BUILDCTL").parent().unwrap());
                (format!("ssh://{ALIAS}{}", socket.display()), Some(server))
            }
        };
        Led { address, line, behind: Behind::Daemon { builder, folder, root, config, _server: server } }
    }

    /// Its address, as `--builder` takes it.
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// Kills the buildkitd.
    pub(crate) fn kill(&mut self) {
        match &mut self.behind {
            Behind::Daemon { builder, .. } => builder.kill(),
            Behind::Container { name, folder, .. } => podman::podman(folder, &["kill", name]),
        }
    }

    /// Has it there again.
    pub(crate) fn revive(&mut self) {
        match &mut self.behind {
            Behind::Daemon { builder, folder, root, config, .. } => *builder = Builder::start(folder, root, config),
            Behind::Container { name, folder, .. } => podman::revive(folder, name),
        }
    }

    /// Panics when a program still leads to the builder.
    pub(crate) fn is_left_alone(&self) {
        let line = self.line.replace(' ', "\0");
        wait_until("the programs that led to the builder end", 10, || !process::mentions(&line));
    }
}

/// Has `program` in a folder that comes first in `PATH`; it is to be told `arguments` and then `buildctl dial-stdio`.
fn stand_in(world: &mut World, program: &str, arguments: &str, socket: &Path) {
    let folder = made(world.path("bin"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] || exit 0\n[ \"$*\" = '{arguments} buildctl dial-stdio' ] || {{\n  \
         echo \"{program} was told: $*\" >&2\n  exit 2\n}}\nexec '{}' --addr 'unix://{}' dial-stdio\n",
        tool("BUILDCTL").display(),
        socket.display()
    );
    fs::write(folder.join(program), script).unwrap();
    fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    world.set("PATH", &format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()));
}
