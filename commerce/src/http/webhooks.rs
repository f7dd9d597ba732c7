//! Webhooks: what the payment provider tells us by itself.

use redeliver::Timestamp;
use redeliver::clock::{Clock, SystemClock};
use redeliver::http::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::answer;
use super::ask::{Ask, read};
use super::table::{Answer, Table};
use crate::app::Shop;
use crate::money::{Currency, Money};
use crate::payment::webhook::SIGNATURE_HEADER;
use crate::payment::{ProviderWebhook, WebhookKind, WebhookOutcome};
use crate::time::rfc3339;

pub(super) fn routes(on: &mut Table) {
    on.signed_post("/webhooks/payments", payments)
        .about("Takes what the payment provider tells by itself; told twice, it counts once.")
        .takes::<Told>()
        .header(
            SIGNATURE_HEADER,
            "`t=<unix seconds>,v1=<HMAC-SHA256 of \"t.body\" in hex>`",
        )
        .answers::<Received>(StatusCode::OK);
}

/// What the provider tells us by itself. It may tell more than we read: whose system this is may
/// add fields at any time, and the signature covers them.
#[derive(Deserialize, ToSchema)]
#[schema(as = ProviderWebhook)]
struct Told {
    /// The provider's id of the event; told twice, it counts once.
    id: String,
    /// What happened.
    #[serde(rename = "type")]
    kind: WebhookKind,
    /// Our key of the operation it is about.
    idempotency_key: String,
    /// The provider's name of the operation. What failed may have none.
    #[serde(default)]
    provider_reference: Option<String>,
    amount: AmountTold,
    /// When.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// How much, as money or as bare minor units of the shop's currency: providers do either.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum AmountTold {
    Money(Money),
    MinorUnits(i64),
}

impl Told {
    fn in_currency(self, currency: Currency) -> ProviderWebhook {
        ProviderWebhook {
            id: self.id,
            kind: self.kind,
            idempotency_key: self.idempotency_key,
            provider_reference: self.provider_reference.unwrap_or_default(),
            amount: match self.amount {
                AmountTold::Money(amount) => amount,
                AmountTold::MinorUnits(amount) => Money::new(amount, currency),
            },
            at: self.at,
        }
    }
}

/// What became of a webhook.
#[derive(Serialize, ToSchema)]
struct Received {
    outcome: WebhookOutcome,
}

async fn payments(ask: Ask) -> Answer {
    let signature = ask.headers.get(SIGNATURE_HEADER);
    let signature = signature.and_then(|value| value.to_str().ok());
    let outcome = receive(&ask.shop, signature.unwrap_or_default(), &ask.body).await?;
    answer::ok(&Received { outcome })
}

/// Takes a webhook as it arrived. The signature goes before everything else: who cannot sign
/// learns nothing about what we would read.
pub(crate) async fn receive(
    shop: &Shop,
    signature: &str,
    body: &[u8],
) -> Result<WebhookOutcome, Problem> {
    shop.webhook_secret
        .verify(signature, body, SystemClock.wall())
        .map_err(|error| {
            tracing::warn!(%error, "webhook refused");
            Problem::unauthorized(error.to_string())
        })?;
    let told: Told = read(body)?;
    let webhook = told.in_currency(shop.currency);
    Ok(shop.payment().call(webhook).await?)
}
