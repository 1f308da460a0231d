//! Having BuildKit build: one request, the graph of what it answers, and opening every result of it.

mod accounts;
mod alarm;
mod blame;
mod converted;
mod frontend;
mod graph;
mod key;
mod materialize;
mod other_session;
mod progress;
mod request;
mod rewrite;
mod vertex;

pub(crate) use accounts::{Account, Accounts, Transferred};
pub(crate) use alarm::forbidden;
pub(crate) use blame::{blames_surroundings, fetch_remedy, is_failed_step, is_lost, says_no_space};
pub(crate) use frontend::{Answer, Question, ask};
pub(crate) use graph::{Graph, Kind as OperationKind, Node, Operation, frontend_image};
pub(crate) use key::of_copies;
pub(crate) use materialize::{Order, Patience, Request, find, imported_all, materialize};
pub(crate) use other_session::in_other_sessions;
pub(crate) use progress::StatusTracker;
pub(crate) use request::{Import, MAX_MESSAGE_BYTES, Setting};
pub(crate) use vertex::{Label, fetched_image, fetches_git_context, is_copy_of_directory, is_internal, resolved_image};
