//! A running builder, and what we have it do.
//!
//! The generated protocol types stay in here. This part knows no terminal: it emits events.

mod address;
mod connect;
mod forget;
mod records;
mod refusal;
mod session;
mod solve;
mod source_policy;

pub(crate) use address::{ADDRESS_FORMS, Address};
pub(crate) use connect::{
    Builder, Create, DockerHost, Spawn, StateRoot, Tls, USUAL_ROOT, Wanted, config_of_machine, is_stand_in,
    program_version, registries, stand_in, usual_daemon,
};
pub(crate) use forget::{collect_garbage, forget_history, prune};
pub(crate) use records::{RecordInUse, all, described, held, in_use};
pub(crate) use session::{
    Agents, EntryKind, Fingerprint, Local, PermissionRule, SECRET_LIMIT, SecretValues, Secrets, Selection, Services,
    Session, SessionEnded, SessionId, SessionPlan, Stores,
};
pub(crate) use solve::{
    Account, Accounts, Answer, Graph, Import, Label, Node, Operation, OperationKind, Order, Patience, Question,
    Request, Setting, StatusTracker, Transferred, ask, blames_surroundings, fetch_remedy, fetched_image,
    fetches_git_context, find, forbidden, frontend_image, imported_all, in_other_sessions, is_failed_step, is_internal,
    is_lost, materialize, of_copies, resolved_image, says_no_space,
};
pub(crate) use source_policy::{SOURCE_POLICY_LIMIT, SourcePolicy};
