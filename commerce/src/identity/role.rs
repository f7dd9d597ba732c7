//! Roles: what a user may do beside what every user may.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a user may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Orders, as every user may; who registers has it.
    Customer,
    /// Shipments.
    Warehouse,
    /// Stock, and what the catalog shows.
    InventoryManager,
    /// Figures.
    Analyst,
    /// Administration of the running system.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All, from least to most.
    pub const ALL: [Role; 6] = [
        Role::Customer,
        Role::Warehouse,
        Role::InventoryManager,
        Role::Analyst,
        Role::Operator,
        Role::Admin,
    ];

    /// Its name outside.
    pub fn name(self) -> &'static str {
        match self {
            Role::Customer => "customer",
            Role::Warehouse => "warehouse",
            Role::InventoryManager => "inventory-manager",
            Role::Analyst => "analyst",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
