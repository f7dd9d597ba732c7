//! Personal data at the gateway: checked and sealed on its way in, opened on its way out.
//!
//! Beyond the gateway nobody can look at an address or a card any more, so what is wrong with one
//! is said here.

use redeliver::http::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

use super::ask::Ask;
use crate::ids::UserId;
use crate::order::{Address, pricing};
use crate::payment::{PaymentMethod, SealedMethod};
use crate::privacy::{KeyringError, Sealed};

/// As [`Address`], which is stored and therefore cannot refuse unknown names by itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressAsked {
    recipient: String,
    line1: String,
    line2: Option<String>,
    city: String,
    region: Option<String>,
    postal_code: String,
    /// ISO 3166 code, two capital letters.
    #[schema(example = "DE")]
    country: String,
}

impl From<AddressAsked> for Address {
    fn from(asked: AddressAsked) -> Address {
        Address {
            recipient: asked.recipient,
            line1: asked.line1,
            line2: asked.line2,
            city: asked.city,
            region: asked.region,
            postal_code: asked.postal_code,
            country: asked.country,
        }
    }
}

impl Ask {
    /// Seals the caller's address, if a parcel could find its way there.
    pub(super) fn seal_address(&self, asked: AddressAsked) -> Result<Sealed<Address>, Problem> {
        let address = Address::from(asked);
        pricing::deliverable(&address)?;
        let sealed = self.shop.keyring.seal(self.caller.user, &address);
        sealed.map_err(not_sealed)
    }

    /// Seals a user's means of payment, if the provider could be asked with it.
    pub(super) fn seal_method(
        &self,
        user: UserId,
        method: &PaymentMethod,
    ) -> Result<SealedMethod, Problem> {
        pricing::chargeable(method)?;
        let sealed = method.seal(user, &self.shop.keyring);
        sealed.map_err(not_sealed)
    }

    /// An address to show to its user or to whoever sends the parcel; `None` once it is forgotten.
    pub(super) fn open_address(&self, sealed: &Sealed<Address>) -> Option<Address> {
        match self.shop.keyring.open_sealed(sealed) {
            Ok(address) => Some(address),
            Err(KeyringError::Forgotten { .. }) => None,
            Err(error) => {
                tracing::error!(%error, "address not shown");
                None
            }
        }
    }
}

/// Whose key is gone has been deleted since the request was let pass.
fn not_sealed(error: KeyringError) -> Problem {
    match error {
        KeyringError::Forgotten { .. } => Problem::unauthorized(
            "the user was deleted; register again with POST /api/v1/auth/register",
        ),
        KeyringError::Io { .. }
        | KeyringError::Damaged { .. }
        | KeyringError::Missing { .. }
        | KeyringError::Unreadable { .. }
        | KeyringError::Random(_) => {
            tracing::error!(%error, "personal data not sealed");
            Problem::internal()
        }
    }
}
