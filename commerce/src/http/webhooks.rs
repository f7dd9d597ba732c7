//! Webhooks: what the payment provider tells us by itself.

use redeliver::clock::{Clock, SystemClock};
use redeliver::http::Problem;
use warp::http::StatusCode;

use super::answer;
use super::ask::{Ask, read};
use super::table::{Answer, Table};
use crate::app::Shop;
use crate::payment::webhook::SIGNATURE_HEADER;
use crate::payment::{ProviderWebhook, WebhookOutcome};

pub(super) fn routes(on: &mut Table) {
    on.signed_post("/webhooks/payments", payments);
}

async fn payments(ask: Ask) -> Answer {
    let signature = ask.headers.get(SIGNATURE_HEADER);
    let signature = signature.and_then(|value| value.to_str().ok());
    let outcome = receive(&ask.shop, signature.unwrap_or_default(), &ask.body).await?;
    let body = serde_json::json!({ "outcome": outcome });
    answer::json(StatusCode::OK, &body)
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
    let webhook: ProviderWebhook = read(body)?;
    Ok(shop.payment().call(webhook).await?)
}
