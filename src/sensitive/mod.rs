//! What is secret: which names say so of their values, and which parts of a secret's content may not be shown or found.
//!
//! Progress, reports, the manifest and `seal` ask here, so that they agree on it.

mod content;
mod decode;
mod names;
mod shapes;
mod spellings;
mod values;

pub(crate) use content::parts;
pub(crate) use names::is_secret;
pub(crate) use shapes::{PRIVATE_KEY, SHAPES};
pub(crate) use spellings::spelled;
pub(crate) use values::{is_common, login};

/// Bytes of the shortest value that is hidden or searched for. A shorter one stands in too many other words.
const SHORTEST: usize = 6;
