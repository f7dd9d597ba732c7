//! An address: where a parcel goes. Personal data: sealed wherever it is stored or sent.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::privacy::Personal;

/// Where a parcel goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// Who gets it.
    pub recipient: String,
    /// Street and number.
    pub line1: String,
    /// Further detail.
    pub line2: Option<String>,
    /// Town.
    pub city: String,
    /// State or province.
    pub region: Option<String>,
    /// Postal code.
    pub postal_code: String,
    /// ISO 3166 code of the country, two capital letters.
    pub country: String,
}

impl Personal for Address {
    const NAME: &'static str = "address";
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(redacted)")
    }
}
