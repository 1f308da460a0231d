//! What a program that leads to a builder wrote beside the wire: why there is no connection.

use std::sync::{Arc, Mutex, PoisonError};

/// Bytes kept of it.
const LENGTH: usize = 2_000;

/// All of it so far. Cloning it is cheap: it stays one.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<String>>);

impl Complaints {
    /// All of it so far.
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned()
    }

    pub(super) fn add(&self, bytes: &[u8]) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if text.len() < LENGTH {
            text.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(LENGTH)]));
        }
    }
}
