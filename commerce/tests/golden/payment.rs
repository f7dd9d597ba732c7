//! Payments and what the provider is asked for.

use commerce::money::Currency;
use commerce::payment::activities::{Authorise, CaptureHeld, LookUp, PayBack, VoidHeld};
use commerce::payment::key::{Operation, OperationKey};
use commerce::payment::record::{
    Attempt, Capture, Failure, Hold, PaymentRecord, Refund, RefundState, Try, Undo, UndoProgress,
};
use commerce::payment::service::{AskProviderAgain, UndoneOrderForgotten, WebhookForgotten};
use commerce::payment::tables as payment_tables;
use commerce::payment::{
    CapturePayment, CardToken, FailureKind, PaymentCaptureFailed, PaymentCompleted,
    PaymentConfirmed, PaymentFailed, PaymentRefundFailed, PaymentRefunded, RefundKind,
};

use super::{AT, Golden, LATER, ORDER, PAYMENT, REFUND, USER, eur, made_of, sealed, text};

pub(super) fn samples(golden: &mut Golden) {
    let (order_id, customer_id, payment_id, at) = (ORDER, USER, PAYMENT, AT);
    golden.message(&PaymentConfirmed {
        order_id,
        payment_id,
        customer_id,
        attempt: 1,
        authorised: eur(1_998),
        at,
    });
    golden.message(&PaymentFailed {
        order_id,
        payment_id: Some(payment_id),
        customer_id,
        attempt: 1,
        kind: FailureKind::Soft,
        reason: text("why"),
        at,
    });
    golden.message(&PaymentCompleted {
        order_id,
        payment_id,
        customer_id,
        captured: eur(1_998),
        at,
    });
    golden.message(&PaymentCaptureFailed {
        order_id,
        payment_id: Some(payment_id),
        reason: text("why"),
        at,
    });
    golden.message(&PaymentRefunded {
        order_id,
        payment_id: Some(payment_id),
        customer_id,
        refund_id: REFUND,
        kind: RefundKind::Refunded,
        amount: eur(5),
        at,
    });
    golden.message(&PaymentRefundFailed {
        order_id,
        payment_id,
        refund_id: REFUND,
        reason: text("why"),
        at,
    });
    golden.message(&CapturePayment { order_id });
    let key = |operation| OperationKey {
        order: order_id,
        operation,
    };
    let refund = Operation::Refund {
        refund: REFUND,
        n: 2,
    };
    golden.message(&AskProviderAgain {
        payment_id,
        key: key(refund),
    });
    golden.message(&UndoneOrderForgotten { order_id });
    golden.message(&WebhookForgotten { id: text("evt_1") });
    golden.activity(
        "authorise-payment",
        &Authorise {
            payment_id,
            key: key(Operation::Authorise { attempt: 1 }),
            amount: eur(1_998),
            token: sealed(7),
        },
    );
    let (amount, authorisation) = (eur(1_998), text("auth_1"));
    golden.activity(
        "capture-payment",
        &CaptureHeld {
            payment_id,
            key: key(Operation::Capture { attempt: 1, n: 1 }),
            amount,
            authorisation: authorisation.clone(),
        },
    );
    golden.activity(
        "void-payment",
        &VoidHeld {
            payment_id,
            key: key(Operation::Void { attempt: 1, n: 1 }),
            amount,
            authorisation: authorisation.clone(),
        },
    );
    golden.activity(
        "refund-payment",
        &PayBack {
            payment_id,
            key: key(refund),
            amount,
            authorisation,
        },
    );
    let token: CardToken = made_of(&"tok_ok");
    golden.personal(&token);
    let asked = LookUp {
        payment_id,
        key: key(refund),
    };
    golden.activity("look-up-payment", &asked);
    let record = PaymentRecord {
        order_id,
        customer_id,
        currency: Currency::EUR,
        attempts: vec![Attempt {
            number: 1,
            amount: 1_998,
            hold: Hold::Held,
            voids: 1,
            reference: Some(text("auth_1")),
            failure: Some(Failure {
                kind: FailureKind::Soft,
                reason: text("why"),
            }),
        }],
        capture: Capture::Refused(Try { attempt: 1, n: 2 }, text("why")),
        refunds: vec![Refund {
            id: REFUND,
            n: 1,
            amount: 5,
            reason: Some(text("goodwill")),
            state: RefundState::Paid,
            reported: true,
        }],
        undo: Some(Undo {
            refund_id: REFUND,
            progress: UndoProgress::Failed,
        }),
        created_at: at,
        updated_at: LATER,
    };
    golden.row(payment_tables::PAYMENTS, &payment_id, &record);
    golden.row(payment_tables::PAYMENTS_BY_ORDER, &order_id, &payment_id);
    let undone = payment_tables::UndoneOrder { customer_id, at };
    golden.row(payment_tables::UNDONE_ORDERS, &order_id, &undone);
    golden.row(payment_tables::WEBHOOKS_SEEN, &text("evt_1"), &at);
}
