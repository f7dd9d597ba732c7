//! Answers to commands that honour an idempotency key: kept as long as the key, 7 days.

use commerce::analytics::{Rebuild, RebuildView};
use commerce::catalog::{
    CategoryView, ChangeAttributes, ChangeImages, ChangePrice, CreateCategory, CreateProduct,
    ProductStatus, ProductView, PublishProduct, UnpublishProduct, UpdateCategory, UpdateProduct,
};
use commerce::identity::Role;
use commerce::identity::requests::{
    ChangePassword, DeleteUser, PasswordOutcome, SetRoles, UnlockAccount, UpdateProfile, UserView,
};
use commerce::inventory::{AdjustStock, ProductStock};
use commerce::notification::{
    Channel, Occasion, PreferencesView, RewriteTemplate, SetPreferences, SwitchTemplate,
    TemplateView, WriteTemplate,
};
use commerce::order::{
    CancelOrder, CartItem, CartView, CheckOut, OrderStatus, OrderView, PlaceOrder, PutIntoCart,
    ResolveOrder, RetryPayment, TakeFromCart,
};
use commerce::payment::{PaymentStatus, PaymentView, RefundPayment};
use commerce::shipping::{
    Deliver, Dispatch, HistoryEntry, RecordDeliveryAttempt, ReturnShipment, ShipmentStatus,
    ShipmentView, Track,
};

use super::catalog::{SHELF, image};
use super::notification::{TEMPLATE, preferences};
use super::{
    AT, Golden, LATER, MUG, ORDER, PARCEL, PAYMENT, USER, eur, lines, sealed, text, units,
};

pub(super) fn samples(golden: &mut Golden) {
    of_people(golden);
    of_goods(golden);
    of_orders(golden);
    of_parcels(golden);
}

fn of_people(golden: &mut Golden) {
    let user = UserView {
        id: USER,
        contact: sealed(9),
        roles: vec![Role::Customer, Role::Warehouse],
        locked_until: Some(LATER),
        version: 3,
        created_at: AT,
    };
    golden.reply::<UpdateProfile>(&user);
    golden.reply::<UnlockAccount>(&user);
    golden.reply::<SetRoles>(&user);
    golden.reply::<DeleteUser>(&());
    golden.reply::<ChangePassword>(&PasswordOutcome::Locked { until: LATER });
    let outcomes = vec![PasswordOutcome::Changed, PasswordOutcome::Wrong];
    golden.numbers("outcome of a change of password", outcomes);
    let template = TemplateView {
        id: TEMPLATE,
        name: text("order-created"),
        event: Some(Occasion::OrderCreated),
        channel: Channel::Email,
        subject: text("Thank you"),
        body: text("Dear {{first_name}}"),
        active: true,
        version: 2,
        variables: vec![text("total")],
    };
    golden.reply::<WriteTemplate>(&template);
    golden.reply::<RewriteTemplate>(&template);
    golden.reply::<SwitchTemplate>(&template);
    golden.reply::<SetPreferences>(&PreferencesView {
        user_id: USER,
        preferences: preferences(),
        version: 1,
    });
    golden.reply::<Rebuild>(&RebuildView {
        running: true,
        generation: 2,
        facts: 900,
        folded: 256,
        clearing: true,
        started_at: Some(AT),
        finished_at: Some(LATER),
    });
}

fn of_goods(golden: &mut Golden) {
    let product = ProductView {
        id: MUG,
        sku: text("MUG"),
        name: text("mug"),
        description: text("blue"),
        price: Some(eur(999)),
        category_id: Some(SHELF),
        status: ProductStatus::Published,
        available: 7,
        images: vec![image()],
        attributes: [(text("colour"), text("blue"))].into(),
        version: 4,
        created_at: AT,
        updated_at: LATER,
    };
    golden.reply::<CreateProduct>(&product);
    golden.reply::<UpdateProduct>(&product);
    golden.reply::<ChangePrice>(&product);
    golden.reply::<PublishProduct>(&product);
    golden.reply::<UnpublishProduct>(&product);
    golden.reply::<ChangeImages>(&product);
    golden.reply::<ChangeAttributes>(&product);
    let category = CategoryView {
        id: SHELF,
        name: text("Kitchen"),
        description: text("mugs"),
        version: 2,
        created_at: AT,
        updated_at: LATER,
    };
    golden.reply::<CreateCategory>(&category);
    golden.reply::<UpdateCategory>(&category);
    golden.reply::<AdjustStock>(&ProductStock {
        product_id: MUG,
        sku: text("MUG"),
        name: text("mug"),
        on_hand: 8,
        reserved: 1,
        available: 7,
        reorder_level: 10,
    });
}

fn of_orders(golden: &mut Golden) {
    let order = OrderView {
        id: ORDER,
        customer_id: USER,
        status: OrderStatus::Cancelling,
        items: lines(),
        total: eur(1_998),
        shipping_address: Some(sealed(8)),
        payment_id: Some(PAYMENT),
        payment_attempts: 1,
        payment_failure: Some(text("card_declined")),
        shipment_id: Some(PARCEL),
        cancel_reason: Some(text("why")),
        review_reason: Some(text("capture_failed")),
        version: 5,
        created_at: AT,
        updated_at: LATER,
    };
    golden.reply::<PlaceOrder>(&order);
    golden.reply::<CheckOut>(&order);
    golden.reply::<CancelOrder>(&order);
    golden.reply::<RetryPayment>(&order);
    golden.reply::<ResolveOrder>(&order);
    let cart = CartView {
        items: vec![CartItem {
            product_id: MUG,
            sku: text("MUG"),
            name: text("mug"),
            quantity: 2,
            unit_price: eur(999),
            orderable: true,
        }],
        total: eur(1_998),
        version: 3,
    };
    golden.reply::<PutIntoCart>(&cart);
    golden.reply::<TakeFromCart>(&cart);
    golden.reply::<RefundPayment>(&PaymentView {
        id: PAYMENT,
        order_id: ORDER,
        customer_id: USER,
        status: PaymentStatus::PartiallyRefunded,
        attempts: 1,
        authorised: eur(1_998),
        captured: eur(1_998),
        refunded: eur(5),
        failure_reason: Some(text("why")),
        created_at: AT,
        updated_at: LATER,
    });
}

fn of_parcels(golden: &mut Golden) {
    let shipment = ShipmentView {
        id: PARCEL,
        order_id: ORDER,
        customer_id: USER,
        status: ShipmentStatus::Dispatched,
        items: units(),
        shipping_address: Some(sealed(8)),
        carrier: Some(text("post")),
        tracking_number: Some(text("T1")),
        estimated_delivery: Some(LATER),
        history: vec![HistoryEntry {
            at: AT,
            status: ShipmentStatus::Dispatched,
            location: Some(text("Town")),
            description: Some(text("on its way")),
        }],
        created_at: AT,
        updated_at: LATER,
    };
    golden.reply::<Dispatch>(&shipment);
    golden.reply::<Track>(&shipment);
    golden.reply::<RecordDeliveryAttempt>(&shipment);
    golden.reply::<Deliver>(&shipment);
    golden.reply::<ReturnShipment>(&shipment);
}
