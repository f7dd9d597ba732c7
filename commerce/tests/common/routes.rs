//! Every route of the shop, written out by hand: what other software relies on, and who may.
//!
//! The document and the doors of the real program are both held against this one table.

use Told::{Everybody, Only, SignedIn, Signs};

/// Who asks, in this order. The owner comes late and the administrator last, because what they
/// are let do changes something.
pub const CALLERS: [&str; 8] = [
    "nobody",
    "other",
    "warehouse",
    "inventory-manager",
    "analyst",
    "operator",
    "owner",
    "admin",
];

/// Who opens a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// For each of the [`CALLERS`] what becomes of them: `+` is any answer but 401 (`1`), 403
    /// (`3`) and 404 (`4`).
    pub doors: &'static str,
    /// What the document says of it.
    pub told: Told,
}

/// Whom the document says a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Everybody,
    SignedIn,
    Only(&'static str),
    Signs,
}

const fn who(doors: &'static str, told: Told) -> Who {
    Who { doors, told }
}

const OPEN: Who = who("+ + + + + + + +", Everybody);
const SIGNED_IN: Who = who("1 + + + + + + +", SignedIn);
/// The owner's, and an administrator's; others must not even learn that it exists.
const OWN: Who = who("1 4 4 4 4 4 + +", SignedIn);
/// Only the user knows the present password.
const HOLDER: Who = who("1 4 4 4 4 4 + 4", SignedIn);
/// The owner's and the warehouse's.
const PARCEL: Who = who("1 4 + 4 4 4 + +", SignedIn);
const WAREHOUSE: Who = who("1 3 + 3 3 3 3 +", Only("warehouse"));
const MANAGER: Who = who("1 3 3 + 3 3 3 +", Only("inventory-manager"));
const ANALYST: Who = who("1 3 3 3 + 3 3 +", Only("analyst"));
const OPERATOR: Who = who("1 3 3 3 3 + 3 +", Only("operator"));
const ADMIN_ONLY: Who = who("1 3 3 3 3 3 3 +", Only("admin"));
/// An access token, or a token in the body alone.
const LEAVING: Who = who("1 + + + + + + +", Everybody);
/// Without a signature of ours it is nobody's, whoever shows credentials.
const SIGNED: Who = who("1 1 1 1 1 1 1 1", Signs);

/// Method, path, a body that is good enough to get as far as the question whose it is, and who may.
/// In the order in which they are asked. Paths are below `/api/v1` unless they begin with `!`.
pub const ROUTES: &[(&str, &str, &str, Who)] = &[
    // Signing in shows no credentials, and bad ones are refused for what they are.
    ("POST", "/auth/register", "{}", OPEN),
    ("POST", "/auth/login", "{}", OPEN),
    ("POST", "/auth/refresh", "{}", OPEN),
    ("GET", "/users/{owner}", "", OWN),
    ("PATCH", "/users/{owner}", r#"{"first_name":"A"}"#, OWN),
    ("POST", "/users/{owner}/unlock", "{}", ADMIN_ONLY),
    (
        "PUT",
        "/users/{owner}/roles",
        r#"{"roles":["customer"]}"#,
        ADMIN_ONLY,
    ),
    ("GET", "/catalog/products", "", OPEN),
    ("GET", "/catalog/products/{product}", "", OPEN),
    ("GET", "/catalog/products/{product}/prices", "", MANAGER),
    ("GET", "/catalog/products/sku/MUG-BLUE", "", OPEN),
    ("POST", "/catalog/products", "{}", MANAGER),
    ("PUT", "/catalog/products/{product}", "{}", MANAGER),
    ("PUT", "/catalog/products/{product}/price", "{}", MANAGER),
    ("POST", "/catalog/products/{product}/publish", "{}", MANAGER),
    (
        "POST",
        "/catalog/products/{product}/unpublish",
        "{\"x\":1}",
        MANAGER,
    ),
    ("POST", "/catalog/products/{product}/images", "{}", MANAGER),
    (
        "POST",
        "/catalog/products/{product}/attributes",
        "{}",
        MANAGER,
    ),
    ("GET", "/catalog/categories", "", OPEN),
    ("POST", "/catalog/categories", "{}", MANAGER),
    ("PUT", "/catalog/categories/{product}", "[]", MANAGER),
    ("POST", "/orders", "{}", SIGNED_IN),
    ("GET", "/orders", "", SIGNED_IN),
    ("GET", "/orders/{order}", "", OWN),
    ("GET", "/orders/{order}/timeline", "", OWN),
    ("POST", "/orders/{order}/payment/retry", "{retry}", OWN),
    ("POST", "/orders/{order}/resolve", "{}", ADMIN_ONLY),
    ("GET", "/cart", "", SIGNED_IN),
    (
        "PUT",
        "/cart/items/{product}",
        r#"{"quantity":1}"#,
        SIGNED_IN,
    ),
    ("DELETE", "/cart/items/{product}", "", SIGNED_IN),
    ("POST", "/cart/checkout", "{}", SIGNED_IN),
    ("GET", "/payments/{payment}", "", OWN),
    ("GET", "/payments/order/{order}", "", OWN),
    ("POST", "/payments/{payment}/refund", "{}", ADMIN_ONLY),
    ("GET", "/inventory/products", "", MANAGER),
    ("GET", "/inventory/products/low-stock", "", MANAGER),
    ("GET", "/inventory/products/{product}", "", MANAGER),
    (
        "GET",
        "/inventory/products/{product}/reservations",
        "",
        MANAGER,
    ),
    (
        "POST",
        "/inventory/products/{product}/adjust-stock",
        "{}",
        MANAGER,
    ),
    (
        "PUT",
        "/inventory/products/{product}/reorder-level",
        "{}",
        MANAGER,
    ),
    ("GET", "/shipments/pending", "", WAREHOUSE),
    ("GET", "/shipments/delayed", "", WAREHOUSE),
    ("GET", "/shipments/{shipment}", "", PARCEL),
    ("GET", "/shipments/order/{order}", "", PARCEL),
    ("POST", "/shipments/{shipment}/tracking", "{}", WAREHOUSE),
    (
        "POST",
        "/shipments/{shipment}/delivery-attempt",
        "{}",
        WAREHOUSE,
    ),
    (
        "POST",
        "/shipments/{shipment}/delivered",
        "{\"x\":1}",
        WAREHOUSE,
    ),
    ("POST", "/shipments/{shipment}/returned", "{}", WAREHOUSE),
    ("POST", "/shipments/{shipment}/dispatch", "{}", WAREHOUSE),
    ("GET", "/shipments/tracking/{tracking}", "", PARCEL),
    ("GET", "/notifications", "", SIGNED_IN),
    ("GET", "/notifications/{notification}", "", OWN),
    ("GET", "/templates", "", ADMIN_ONLY),
    ("POST", "/templates", "{}", ADMIN_ONLY),
    ("GET", "/templates/{template}", "", ADMIN_ONLY),
    ("PUT", "/templates/{template}", "{}", ADMIN_ONLY),
    (
        "POST",
        "/templates/{template}/activate",
        "{\"x\":1}",
        ADMIN_ONLY,
    ),
    (
        "POST",
        "/templates/{template}/deactivate",
        "{\"x\":1}",
        ADMIN_ONLY,
    ),
    ("POST", "/templates/{template}/preview", "{}", ADMIN_ONLY),
    ("GET", "/users/{owner}/notification-preferences", "", OWN),
    ("PUT", "/users/{owner}/notification-preferences", "[]", OWN),
    ("GET", "/analytics/orders/summary", "", ANALYST),
    ("GET", "/analytics/revenue/daily", "", ANALYST),
    ("GET", "/analytics/revenue/monthly", "", ANALYST),
    ("GET", "/analytics/products/top-selling", "", ANALYST),
    (
        "GET",
        "/analytics/customers/{owner}/lifetime-value",
        "",
        ANALYST,
    ),
    ("GET", "/analytics/conversion-funnel", "", ANALYST),
    ("GET", "/analytics/stock", "", ANALYST),
    ("GET", "/analytics/dashboard", "", ANALYST),
    ("GET", "/analytics/rebuild", "", OPERATOR),
    ("POST", "/analytics/rebuild", "[]", OPERATOR),
    ("GET", "/events", "", SIGNED_IN),
    ("GET", "!/openapi.json", "", OPEN),
    ("GET", "!/docs", "", OPEN),
    ("GET", "!/docs/rapidoc-9.3.8.js", "", OPEN),
    ("GET", "!/livez", "", OPEN),
    ("GET", "!/readyz", "", OPEN),
    ("GET", "!/metrics", "", OPEN),
    ("GET", "!/ui/", "", OPEN),
    ("GET", "!/ui/{file}", "", OPEN),
    ("GET", "!/admin/system", "", OPERATOR),
    ("GET", "!/admin/topology", "", OPERATOR),
    ("POST", "!/admin/backup", r#"{"to":"b"}"#, OPERATOR),
    ("POST", "!/webhooks/payments", "{}", SIGNED),
    (
        "POST",
        "/orders/{order}/cancel",
        r#"{"reason":"changed my mind"}"#,
        OWN,
    ),
    (
        "POST",
        "/users/{owner}/password",
        r#"{"current_password":"a customer's password","new_password":"a customer's password"}"#,
        HOLDER,
    ),
    ("POST", "/auth/logout", "", LEAVING),
    ("DELETE", "/users/{owner}", "", OWN),
];

/// The whole path of a row's.
pub fn whole(path: &str) -> String {
    match path.strip_prefix('!') {
        Some(path) => path.to_owned(),
        None => format!("/api/v1{path}"),
    }
}

/// A path without the names of what it leaves open.
pub fn shape(path: &str) -> String {
    let part = |part: &str| match part {
        open if open.starts_with('{') => "{}".to_owned(),
        // The one literal that the table asks for stands for what is open.
        "MUG-BLUE" => "{}".to_owned(),
        literal => literal.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}
