//! What a builder calls back for while it builds: files, logins, secrets, an ssh agent.
//!
//! A [`Session`] is opened before the builds that name it and outlives them ([`connection`]). On it we serve what the
//! build needs from our side: [`files`], [`content`], [`credentials`], [`secrets`], [`ssh`], and a sign of life ([`health`]).
//!
//! **Invariant:** a builder gets what it was given in [`Services`] and nothing else: no other directory, no other
//! secret, no other login than the host's it asks for.

mod connection;
mod content;
mod credentials;
mod files;
mod health;
mod keys;
mod plan;
mod secrets;
mod ssh;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::event::Events;

pub(crate) use connection::{Session, SessionEnded, SessionId, process_token};
pub(crate) use content::Stores;
pub(crate) use credentials::Logins;
pub(crate) use files::{EntryKind, Fingerprint, Local, Locals, PermissionRule, Selection};
pub(crate) use plan::SessionPlan;
pub(crate) use secrets::{SECRET_LIMIT, SecretValues, Secrets};
pub(crate) use ssh::Agents;

/// Bytes of the largest gRPC message, as BuildKit has it in both directions.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// What a session serves. Cloning it is cheap: several sessions can serve the same.
#[derive(Clone)]
pub(crate) struct Services {
    /// The logins at registries.
    pub(crate) logins: Arc<dyn Logins>,
    /// The local directories.
    pub(crate) locals: Locals,
    /// The local caches.
    pub(crate) caches: Stores,
    /// The secrets steps mount.
    pub(crate) secrets: Secrets,
    /// The ssh agents steps use.
    pub(crate) agents: Agents,
    /// Who is told how much was sent.
    pub(crate) events: Events,
}
