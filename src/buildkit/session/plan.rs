//! A session that can be opened on more than one builder: a definition names the session its directories come from,
//! so whoever asks another builder for the same definition serves it under the same id.

use tonic::transport::Channel;

use super::{Services, Session, SessionId};

/// What a session will be.
#[derive(Clone)]
pub(crate) struct SessionPlan {
    /// Its id.
    pub(crate) id: SessionId,
    /// By which BuildKit finds its copies of our directories again.
    pub(crate) shared_key: String,
    /// What it serves.
    pub(crate) services: Services,
}

impl SessionPlan {
    /// Opens it.
    ///
    /// # Errors
    /// When the builder does not take it.
    async fn open(&self, channel: &Channel) -> anyhow::Result<Session> {
        Session::open(channel.clone(), self.id.clone(), self.shared_key.clone(), self.services.clone()).await
    }

    /// Opens all.
    ///
    /// # Errors
    /// When the builder does not take one.
    pub(crate) async fn open_all(plans: &[SessionPlan], channel: &Channel) -> anyhow::Result<Vec<Session>> {
        let mut sessions = Vec::new();
        for plan in plans {
            sessions.push(plan.open(channel).await?);
        }
        Ok(sessions)
    }
}

impl std::fmt::Debug for SessionPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionPlan({})", self.id)
    }
}
