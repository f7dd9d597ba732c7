//! The end of a deleted user's key, and with it of everything personal that the shop holds.

use std::sync::Arc;

use redeliver::prelude::*;

use super::service::Identity;
use crate::ids::UserId;

/// Destroy a user's key. Planned in the turn that deletes the user, so no crash keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyKey {
    /// Whose.
    pub user_id: UserId,
}

impl Activity<Identity> for DestroyKey {
    const NAME: &'static str = "destroy-key";
    const DESTINATION: &'static str = "keyring";
    // What is destroyed stays so.
    const IDEMPOTENT: bool = true;
    type Output = ();

    async fn run(self, service: Arc<Identity>, _cx: ActivityContext) -> Result<(), ActivityError> {
        let keyring = service.keyring.clone();
        let destroyed = match keyring.is_in_memory() {
            // A thread would end when it likes; a simulation is the same every time.
            true => Ok(keyring.destroy(self.user_id)),
            // It waits for the disk.
            false => tokio::task::spawn_blocking(move || keyring.destroy(self.user_id)).await,
        };
        match destroyed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ActivityError::Transient(error.to_string())),
            Err(error) => Err(ActivityError::Unknown(error.to_string())),
        }
    }
}

impl Identity {
    pub(super) fn key_destroyed(
        &self,
        finished: Finished<DestroyKey, ()>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let user_id = finished.input.user_id;
        match finished.outcome {
            Outcome::Done(()) => {}
            // A deletion is a promise: it is tried for as long as it takes.
            Outcome::Failed(reason) | Outcome::GaveUp { reason, .. } => {
                tracing::error!(user = %user_id, reason, "key of a deleted user not destroyed yet");
                cx.plan(finished.input);
            }
        }
        Ok(())
    }
}
