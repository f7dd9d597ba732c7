//! The demo's customers: `demo-1@example.com` and so on, a bounded number of them.

use super::floor::{Floor, Obstacle};
use crate::identity::accounts::Entry;
use crate::identity::requests::CredentialOf;
use crate::identity::{Contact, Password};
use crate::ids::UserId;
use crate::page::to_hex;

/// At a time.
pub(super) const CUSTOMERS_MAX: u32 = 20;

const FIRST_NAMES: [&str; 10] = [
    "Ada", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas",
];
const LAST_NAMES: [&str; 7] = [
    "Baker", "Fischer", "Garnier", "Hansen", "Martin", "Novak", "Rossi",
];

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Customer {
    pub(super) number: u32,
    pub(super) id: UserId,
}

impl Customer {
    /// How that one is called.
    pub(super) fn name(number: u32) -> (&'static str, &'static str) {
        let of = |names: &[&'static str], place: u32| {
            let place = place as usize % names.len().max(1);
            names.get(place).copied().unwrap_or("Demo")
        };
        (of(&FIRST_NAMES, number), of(&LAST_NAMES, number))
    }

    /// Registers the customer of this number, or knows one again whom an earlier run registered.
    /// `None` if somebody else has the address.
    pub(super) async fn arrive(floor: &Floor, number: u32) -> Result<Option<Customer>, Obstacle> {
        let accounts = &floor.shop.accounts;
        let email = format!("demo-{number}@example.com");
        let known = CredentialOf {
            email: accounts.keyring.fingerprint("email", &email),
        };
        // Nobody else can sign in with what follows from the shop's own secret.
        let secret = accounts.keyring.secret_for("demo-customer");
        let password = Password::new(to_hex(&secret));
        let compared = floor.ask(floor.shop.identity(), known).await?;
        if compared.known.is_some() {
            return Ok(match accounts.log_in(&email, password).await? {
                Entry::Admitted(admission) => Some(Customer {
                    number,
                    id: admission.user.id,
                }),
                Entry::Refused | Entry::Locked { .. } => None,
            });
        }
        let (first_name, last_name) = Customer::name(number);
        let contact = Contact {
            email,
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
        };
        let id = accounts.register(contact, password).await?.id;
        Ok(Some(Customer { number, id }))
    }
}
