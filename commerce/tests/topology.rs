//! The topology: the services, what each says and hears, as the contract has it, and nothing said
//! to nobody or waited for in vain. Looked at as registered, without opening anything.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use redeliver::{ServiceTopology, Topology};

/// The 26 core handlers: service, and the messages it handles with whom they come from.
const CORE: [(&str, &[(&str, &str)]); 6] = [
    (
        "order",
        &[
            ("InventoryReservationConfirmed", "inventory"),
            ("InventoryReservationFailed", "inventory"),
            ("PaymentConfirmed", "payment"),
            ("PaymentFailed", "payment"),
            ("OrderConfirmed", "order"),
            ("OrderCancelled", "order"),
        ],
    ),
    (
        "payment",
        &[
            ("PaymentRequested", "order"),
            ("PaymentRefundRequested", "order"),
        ],
    ),
    (
        "inventory",
        &[
            ("InventoryReservationRequested", "order"),
            ("InventoryReservationReleased", "order"),
        ],
    ),
    (
        "shipping",
        &[("OrderConfirmed", "order"), ("OrderCancelled", "order")],
    ),
    (
        "notification",
        &[
            ("OrderCreated", "order"),
            ("OrderShipped", "order"),
            ("PaymentCompleted", "payment"),
            ("PaymentFailed", "payment"),
            ("OrderCancelled", "order"),
        ],
    ),
    (
        "analytics",
        &[
            ("OrderCreated", "order"),
            ("OrderConfirmed", "order"),
            ("OrderCancelled", "order"),
            ("PaymentCompleted", "payment"),
            ("PaymentRefunded", "payment"),
            ("ProductViewed", "catalog"),
            ("ProductAddedToCart", "order"),
            ("ProductPurchased", "order"),
            ("StockAdjusted", "inventory"),
        ],
    ),
];

/// What the life cycle needs beyond the core.
const BEYOND: [(&str, &[(&str, &str)]); 7] = [
    (
        "inventory",
        &[
            ("ProductCreated", "catalog"),
            ("OrderConfirmed", "order"),
            ("ShipmentDispatched", "shipping"),
            ("ShipmentReturned", "shipping"),
        ],
    ),
    ("payment", &[("ShipmentDispatched", "shipping")]),
    ("shipping", &[("ShipmentCancellationRequested", "order")]),
    (
        "order",
        &[
            ("ShipmentDispatched", "shipping"),
            ("ShipmentDelivered", "shipping"),
            ("ShipmentDeliveryFailed", "shipping"),
            ("ShipmentReturned", "shipping"),
            ("ShipmentCancelled", "shipping"),
            ("ShipmentCancellationRefused", "shipping"),
            ("StockReleased", "inventory"),
            ("InventoryReservationExpired", "inventory"),
            ("PaymentCompleted", "payment"),
            ("PaymentRefunded", "payment"),
            ("UserDeleted", "identity"),
            ("ProductCreated", "catalog"),
            ("ProductPriceChanged", "catalog"),
            ("ProductPublished", "catalog"),
            ("ProductUnpublished", "catalog"),
        ],
    ),
    (
        "notification",
        &[
            ("UserRegistered", "identity"),
            ("UserProfileUpdated", "identity"),
            ("OrderConfirmed", "order"),
            ("ShipmentDelivered", "shipping"),
            ("PaymentRefunded", "payment"),
            ("LowStockAlert", "inventory"),
            ("UserAccountLocked", "identity"),
            ("UserDeleted", "identity"),
        ],
    ),
    ("analytics", &[("OrderDelivered", "order")]),
    (
        "catalog",
        &[
            ("InventoryReservationConfirmed", "inventory"),
            ("StockReleased", "inventory"),
            ("StockAdjusted", "inventory"),
        ],
    ),
];

/// What each service publishes; analytics nothing.
const PUBLISHED: [(&str, &[&str]); 8] = [
    (
        "identity",
        &[
            "UserRegistered",
            "UserLoggedIn",
            "PasswordChanged",
            "UserProfileUpdated",
            "UserAccountLocked",
            "UserAccountUnlocked",
            "UserDeleted",
        ],
    ),
    (
        "catalog",
        &[
            "ProductCreated",
            "ProductUpdated",
            "ProductPriceChanged",
            "ProductPublished",
            "ProductUnpublished",
            "ProductViewed",
        ],
    ),
    (
        "order",
        &[
            "OrderCreated",
            "OrderConfirmed",
            "OrderCancelled",
            "OrderShipped",
            "OrderDelivered",
            "ProductAddedToCart",
            "ProductPurchased",
            "InventoryReservationRequested",
            "InventoryReservationReleased",
            "PaymentRequested",
            "PaymentRefundRequested",
            "ShipmentCancellationRequested",
        ],
    ),
    (
        "payment",
        &[
            "PaymentConfirmed",
            "PaymentFailed",
            "PaymentCompleted",
            "PaymentRefunded",
        ],
    ),
    (
        "inventory",
        &[
            "InventoryReservationConfirmed",
            "InventoryReservationFailed",
            "InventoryReservationExpired",
            "StockAdjusted",
            "StockDeducted",
            "StockReleased",
            "LowStockAlert",
        ],
    ),
    (
        "shipping",
        &[
            "ShipmentCreated",
            "ShipmentDispatched",
            "ShipmentTrackingUpdated",
            "ShipmentDelivered",
            "ShipmentDeliveryFailed",
            "ShipmentCancelled",
            "ShipmentCancellationRefused",
            "ShipmentReturned",
        ],
    ),
    ("notification", &["NotificationSent", "NotificationFailed"]),
    ("analytics", &[]),
];

/// What our services publish beyond the contract, each for a reason of its own.
const PUBLISHED_BESIDE: [(&str, &str); 2] = [
    // A person must look at money that could not be taken or given back.
    ("payment", "PaymentCaptureFailed"),
    ("payment", "PaymentRefundFailed"),
];

fn topology() -> Topology {
    commerce::app::topology().unwrap()
}

fn service<'a>(topology: &'a Topology, name: &str) -> &'a ServiceTopology {
    let named = topology.services.iter().find(|known| known.name == name);
    named.unwrap_or_else(|| panic!("there is no service {name}"))
}

/// `OrderCreated` is `order-created` on the wire.
fn wire(name: &str) -> String {
    let mut wire = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !wire.is_empty() {
            wire.push('-');
        }
        wire.push(c.to_ascii_lowercase());
    }
    wire
}

#[test]
fn there_are_eight_services_and_no_other() {
    let topology = topology();
    let names: BTreeSet<&str> = topology
        .services
        .iter()
        .map(|known| known.name.as_str())
        .collect();
    let contract = PUBLISHED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, contract);
    assert_eq!(topology.services.len(), 8);
}

#[test]
fn every_handler_of_the_contract_exists_and_hears_whom_it_should() {
    let topology = topology();
    let core: usize = CORE.iter().map(|(_, handlers)| handlers.len()).sum();
    assert_eq!(core, 26);
    for (name, handlers) in CORE.iter().chain(&BEYOND) {
        let service = service(&topology, name);
        for (message, from) in *handlers {
            let wire = wire(message);
            let handled = service
                .handles
                .iter()
                .find(|handled| handled.message == wire);
            let handled = handled.unwrap_or_else(|| panic!("{name} does not handle {wire}"));
            assert_eq!(handled.version, 1, "{wire}");
            assert_eq!(handled.from, [*from], "{name} hears {wire} from others");
        }
    }
}

#[test]
fn every_service_publishes_what_the_contract_says_and_nothing_unexplained() {
    let topology = topology();
    for (name, messages) in PUBLISHED {
        let said: BTreeSet<String> = service(&topology, name)
            .publishes
            .iter()
            .map(|published| {
                assert_eq!(published.version, 1, "{}", published.message);
                published.message.clone()
            })
            .collect();
        let beside = PUBLISHED_BESIDE.iter().filter(|(by, _)| *by == name);
        let owed: BTreeSet<String> = messages.iter().map(|message| wire(message)).collect();
        let allowed: BTreeSet<String> = owed
            .iter()
            .cloned()
            .chain(beside.map(|(_, message)| wire(message)))
            .collect();
        let missing: Vec<_> = owed.difference(&said).collect();
        // Commands are sent to one service, not published; they are told apart by their names.
        let commands = ["capture-payment"];
        let unexplained: Vec<_> = said
            .difference(&allowed)
            .filter(|message| !commands.contains(&message.as_str()))
            .collect();
        assert!(missing.is_empty(), "{name} does not publish {missing:?}");
        assert!(
            unexplained.is_empty(),
            "{name} also publishes {unexplained:?}"
        );
    }
}

#[test]
fn nothing_published_is_unheard_and_nothing_handled_is_unproduced() {
    let topology = topology();
    let mut published = BTreeSet::new();
    for service in &topology.services {
        for message in &service.publishes {
            let heard = !message.to.is_empty() || message.outside;
            assert!(
                heard,
                "nobody hears {} of {}",
                message.message, service.name
            );
            published.insert((service.name.clone(), message.message.clone()));
        }
    }
    for service in &topology.services {
        for message in &service.handles {
            let name = &message.message;
            let whom = &service.name;
            assert!(
                !message.from.is_empty(),
                "{name} of {whom} comes from nowhere"
            );
            for from in &message.from {
                let known = published.contains(&(from.clone(), name.clone()));
                assert!(known, "{from} does not publish {name}");
            }
        }
    }
}

#[test]
fn every_service_but_analytics_keeps_tables_and_says_something() {
    for service in topology().services {
        assert!(!service.tables.is_empty(), "{} owns nothing", service.name);
        let silent = service.publishes.is_empty();
        assert_eq!(silent, service.name == "analytics", "{}", service.name);
    }
}
