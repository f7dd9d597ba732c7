//! The topology: every message that anyone publishes is heard, and every one that is handled is
//! published. Looked at as registered, without opening anything.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use redeliver::{ServiceTopology, Topology};

fn topology() -> Topology {
    commerce::app::topology().unwrap()
}

fn handled(topology: &Topology, service: &str) -> BTreeSet<String> {
    let named = |known: &&ServiceTopology| known.name == service;
    let service = topology.services.iter().find(named).unwrap();
    let names = service
        .handles
        .iter()
        .map(|handled| handled.message.clone());
    names.collect()
}

#[test]
fn the_core_handlers_of_these_services_exist_under_their_names() {
    let topology = topology();
    let core: [(&str, &[&str]); 5] = [
        (
            "order",
            &[
                "inventory-reservation-confirmed",
                "inventory-reservation-failed",
                "payment-confirmed",
                "payment-failed",
                "order-confirmed",
                "order-cancelled",
            ],
        ),
        (
            "payment",
            &["payment-requested", "payment-refund-requested"],
        ),
        (
            "inventory",
            &[
                "inventory-reservation-requested",
                "inventory-reservation-released",
            ],
        ),
        ("shipping", &["order-confirmed", "order-cancelled"]),
        (
            "notification",
            &[
                "order-created",
                "order-shipped",
                "payment-completed",
                "payment-failed",
                "order-cancelled",
            ],
        ),
    ];
    // What the life cycle needs beyond the core.
    let beyond: [(&str, &[&str]); 5] = [
        (
            "order",
            &[
                "product-created",
                "product-updated",
                "product-price-changed",
                "product-published",
                "product-unpublished",
                "shipment-dispatched",
                "shipment-delivered",
                "shipment-delivery-failed",
                "shipment-returned",
                "shipment-cancelled",
                "shipment-cancellation-refused",
                "stock-released",
                "inventory-reservation-expired",
                "payment-completed",
                "payment-refunded",
            ],
        ),
        ("payment", &["shipment-dispatched"]),
        (
            "inventory",
            &[
                "product-created",
                "product-updated",
                "order-confirmed",
                "shipment-dispatched",
                "shipment-returned",
            ],
        ),
        ("shipping", &["shipment-cancellation-requested"]),
        (
            "notification",
            &[
                "user-registered",
                "user-profile-updated",
                "order-confirmed",
                "shipment-delivered",
                "payment-refunded",
                "low-stock-alert",
                "user-account-locked",
                "user-deleted",
            ],
        ),
    ];
    for (service, messages) in core.into_iter().chain(beyond) {
        let handled = handled(&topology, service);
        for message in messages {
            assert!(
                handled.contains(*message),
                "{service} does not handle {message}"
            );
        }
    }
}

#[test]
fn every_published_message_is_heard_and_every_handled_one_is_published() {
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
            assert!(
                !message.from.is_empty(),
                "{} of {} comes from nowhere",
                name,
                service.name
            );
            for from in &message.from {
                let published = published.contains(&(from.clone(), name.clone()));
                assert!(published, "{from} does not publish {name}");
            }
        }
    }
}

#[test]
fn the_messages_that_these_services_owe_others_are_published() {
    let topology = topology();
    let owed: [(&str, &[&str]); 5] = [
        (
            "order",
            &[
                "order-created",
                "order-confirmed",
                "order-cancelled",
                "order-shipped",
                "order-delivered",
                "product-purchased",
                "inventory-reservation-requested",
                "inventory-reservation-released",
                "payment-requested",
                "payment-refund-requested",
                "shipment-cancellation-requested",
            ],
        ),
        (
            "payment",
            &[
                "payment-confirmed",
                "payment-failed",
                "payment-completed",
                "payment-refunded",
            ],
        ),
        (
            "inventory",
            &[
                "inventory-reservation-confirmed",
                "inventory-reservation-failed",
                "inventory-reservation-expired",
                "stock-adjusted",
                "stock-deducted",
                "stock-released",
                "low-stock-alert",
            ],
        ),
        (
            "shipping",
            &[
                "shipment-created",
                "shipment-dispatched",
                "shipment-tracking-updated",
                "shipment-delivered",
                "shipment-delivery-failed",
                "shipment-cancelled",
                "shipment-cancellation-refused",
                "shipment-returned",
            ],
        ),
        (
            "notification",
            &["notification-sent", "notification-failed"],
        ),
    ];
    for (service, messages) in owed {
        let known = topology.services.iter().find(|known| known.name == service);
        let published: BTreeSet<&str> = known
            .unwrap()
            .publishes
            .iter()
            .map(|published| published.message.as_str())
            .collect();
        for message in messages {
            assert!(
                published.contains(message),
                "{service} does not publish {message}"
            );
        }
    }
}
