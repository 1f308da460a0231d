//! `auto`: the first builder that is there, in the order in which a person would expect it. Says which it took, and what it
//! passed over.

use std::path::Path;

use super::docker::Engine;
use super::{Builder, USUAL_SOCKET, Wanted, buildx, state_root};
use crate::buildkit::{ADDRESS_FORMS, Address, address};
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};

impl Builder {
    /// Whoever names no root means the builder that docker buildx would use. Nothing is started or made where nothing may be.
    pub(super) async fn first_there(wanted: &Wanted, events: &Events) -> anyhow::Result<Builder> {
        if let Some(host) = &wanted.buildkit_host {
            let address: Address = host.parse().map_err(anyhow::Error::msg).explain(
                Kind::Usage,
                format!("could not use BUILDKIT_HOST={host}"),
                format!(
                    "set it to unix:///PATH or tcp://HOST:PORT, or name a builder with --builder ({ADDRESS_FORMS})"
                ),
            )?;
            events.note(format!("builder: {host}, from BUILDKIT_HOST"));
            return Builder::at(&address, wanted, events).await;
        }
        // A daemon on another root would warm the wrong one.
        let is_any_root = wanted.root.is_none();
        if is_any_root && let Some((name, who)) = buildx::chosen(&wanted.docker)? {
            events.note(format!("builder: {name} of docker buildx, chosen by {who}"));
            return Box::pin(Builder::of_buildx(&name, wanted, events)).await;
        }
        if is_any_root && Path::new(USUAL_SOCKET).exists() {
            events.note(format!("builder: unix://{USUAL_SOCKET} is there"));
            return Builder::running(Path::new(USUAL_SOCKET), wanted.root()).await;
        }
        let mut passed_over = match wanted.root {
            Some(_) => format!("passed over {USUAL_SOCKET}, because --root was given"),
            None => format!("no {USUAL_SOCKET}"),
        };
        let (root, makes) = (wanted.root(), wanted.create.is_some());
        if !makes {
            passed_over.push_str("; none is started");
        } else if wanted.spawn(None).can_start().await.is_err() {
            passed_over.push_str("; no buildkitd in PATH");
        } else if !state_root::is_free(&root)? {
            passed_over.push_str(&format!("; another buildkitd uses {}", root.display()));
        } else {
            events.note(format!("builder: a private buildkitd on {} ({passed_over})", root.display()));
            return Builder::spawn(wanted.spawn(None)).await;
        }
        let none = |error: anyhow::Error| error.context(format!("no builder was found: {passed_over}"));
        if is_any_root {
            let engine = Engine::connect(&wanted.docker, wanted.tls.may_be_plain).await.map_err(none)?;
            if !engine.is_podman {
                events.note(format!(
                    "builder: the one inside {}, as docker buildx has it ({passed_over})",
                    engine.version
                ));
                return Builder::in_docker(wanted).await;
            }
        }
        if !makes {
            let hint = "name the builder with --builder, or the state root with --root";
            return Err(Failure::new(Kind::Environment, format!("no builder was found: {passed_over}"), hint));
        }
        events.note(format!("builder: a container of Docker ({passed_over})"));
        Builder::in_container(address::CONTAINER, wanted, events).await.map_err(none)
    }
}
