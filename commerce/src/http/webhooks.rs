//! Webhooks: what the payment provider tells us by itself.

use redeliver::clock::{Clock, SystemClock};
use redeliver::http::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::answer;
use super::ask::{Ask, read};
use super::table::{Answer, Table};
use crate::app::Shop;
use crate::payment::webhook::SIGNATURE_HEADER;
use crate::payment::{ProviderWebhook, WebhookOutcome};

pub(super) fn routes(on: &mut Table) {
    on.signed_post("/webhooks/payments", payments)
        .about("Takes what the payment provider tells by itself; told twice, it counts once.")
        .takes::<ProviderWebhook>()
        .header(
            SIGNATURE_HEADER,
            "`t=<unix seconds>,v1=<HMAC-SHA256 of \"t.body\" in hex>`",
        )
        .answers::<Received>(StatusCode::OK);
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
    let webhook: ProviderWebhook = read(body)?;
    Ok(shop.payment().call(webhook).await?)
}
