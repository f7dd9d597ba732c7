//! The way of a notification: queued, sent, failed or suppressed.

use std::time::Duration;

use redeliver::prelude::*;
use uuid::Uuid;

use super::messages::{
    ContactWaitOver, MoreQueued, NextRound, NotificationFailed, NotificationSent, SweepDue,
};
use super::occasion::{Channel, Occasion};
use super::said::Said;
use super::sender::{
    DiscardLetters, Dispatch, FORGOTTEN, ForgetLetters, SendEmail, SendPush, SendSms,
};
use super::service::Notifications;
use super::tables::{
    CONTACTS, ContactOf, NOTIFICATIONS, NOTIFICATIONS_BY_FACT, NOTIFICATIONS_QUEUED, Notification,
    PREFERENCES, Progress, SWEEP, recipient,
};
use super::templates::Template;
use super::text;
use crate::ids::{NotificationId, OrderId, TemplateId, UserId};

/// Notifications that one turn looks at; the next turn goes on.
const ROWS_A_TURN: usize = 200;
/// The reason of what nobody may be told any more of an order.
const ORDER_CANCELLED: &str = "order_cancelled";
/// The reason of what its recipient does not want to be told.
const SWITCHED_OFF: &str = "switched_off";
/// The reason of what could not be sent to anybody we know.
const CONTACT_UNKNOWN: &str = "contact_unknown";

impl Notifications {
    /// Queues what is said, once for each active template.
    pub(super) fn say(&self, said: Said, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let mut wanted = None;
        if let Some(user) = said.to {
            if let Some(ContactOf::Gone { .. }) = cx.get(CONTACTS, &user)? {
                return Ok(());
            }
            let preferred = cx.get(PREFERENCES, &user)?;
            wanted = Some(preferred.map_or_else(Default::default, |row| row.preferences));
        }
        let outdated = self.is_outdated(&said, cx)?;
        let topic = said.fact.occasion.topic();
        for (template_id, template) in self.active_templates(said.fact.occasion, cx)? {
            let key = (recipient(said.to), template_id, said.fact);
            let known = cx.index(NOTIFICATIONS_BY_FACT, &Span::prefix(&key).limit(1))?;
            if !known.is_empty() {
                continue;
            }
            let id = NotificationId(cx.new_id());
            let allowed = wanted.is_none_or(|wanted| wanted.allow(template.channel, topic));
            let mut told = drafted(&said, template_id, &template, cx.now());
            match told.reason.take() {
                Some(fault) => self.fail(id, &mut told, fault, cx),
                None if outdated => over(&mut told, Progress::Suppressed, ORDER_CANCELLED, cx),
                None if !allowed => over(&mut told, Progress::Suppressed, SWITCHED_OFF, cx),
                None if self.comes_after_another(&told, cx)? => {
                    told.progress = Progress::WaitsItsTurn;
                }
                None => self.begin(id, &mut told, cx)?,
            }
            cx.put(NOTIFICATIONS, &id, &told)?;
        }
        self.plan_sweep(cx)
    }

    /// Has it sent, or lets it wait until its recipient is known.
    fn begin(
        &self,
        id: NotificationId,
        told: &mut Notification,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let to = match told.user_id {
            None => None,
            Some(user) => match cx.get(CONTACTS, &user)? {
                Some(ContactOf::Known(contact)) => Some(contact),
                Some(ContactOf::Gone { .. }) => {
                    over(told, Progress::Suppressed, FORGOTTEN, cx);
                    return Ok(());
                }
                None => {
                    told.progress = Progress::WaitsForContact;
                    let notification_id = id;
                    cx.after(self.contact_wait, ContactWaitOver { notification_id });
                    return Ok(());
                }
            },
        };
        told.progress = Progress::Sending;
        let dispatch = Dispatch {
            notification_id: id,
            to,
            subject: told.subject.clone(),
            body: told.body.clone(),
            at: told.created_at,
        };
        match told.channel {
            Channel::Email => cx.plan(SendEmail(dispatch)),
            Channel::Sms => cx.plan(SendSms(dispatch)),
            Channel::Push => cx.plan(SendPush(dispatch)),
        };
        Ok(())
    }

    /// Whether it must not overtake what is under way: "cancelled" waits for the end of a round
    /// in which "confirmed" may still go out.
    fn comes_after_another(
        &self,
        told: &Notification,
        cx: &Context<Self>,
    ) -> Result<bool, Rejection> {
        if told.fact.occasion != Occasion::OrderCancelled {
            return Ok(false);
        }
        let about = (told.recipient(), told.fact.about);
        let sends_confirmed = |(_, _, other): &(_, NotificationId, Notification)| {
            other.fact.occasion == Occasion::OrderConfirmed && other.progress == Progress::Sending
        };
        let queued = cx.rows_by(NOTIFICATIONS_QUEUED, &Span::prefix(&about))?;
        Ok(queued.iter().any(sends_confirmed))
    }

    /// A round of attempts has ended.
    pub(super) fn attempted(
        &self,
        id: NotificationId,
        outcome: Outcome<()>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let Some(mut told) = cx.get(NOTIFICATIONS, &id)? else {
            return Ok(());
        };
        if told.progress != Progress::Sending {
            return Ok(());
        }
        let withdrawn = told.withdrawn.take();
        match (outcome, withdrawn) {
            (Outcome::Done(()), _) => self.sent(id, &mut told, cx),
            (Outcome::Failed(reason), _) if reason == FORGOTTEN => {
                over(&mut told, Progress::Suppressed, FORGOTTEN, cx);
            }
            (Outcome::Failed(_) | Outcome::GaveUp { .. }, Some(reason)) => {
                over(&mut told, Progress::Suppressed, &reason, cx);
            }
            (Outcome::Failed(reason), None) => self.fail(id, &mut told, reason, cx),
            (Outcome::GaveUp { reason, .. }, None) => {
                let rest = rest(self.rest, self.rest_max, told.rounds);
                told.rounds = told.rounds.saturating_add(1);
                if cx.now().plus(rest) > told.created_at.plus(self.retry_for) {
                    self.fail(id, &mut told, reason, cx);
                } else {
                    told.progress = Progress::Rests;
                    told.reason = Some(reason);
                    let notification_id = id;
                    cx.after(rest, NextRound { notification_id });
                }
            }
        }
        cx.put(NOTIFICATIONS, &id, &told)?;
        self.forget_what_was_late(told.user_id, cx)?;
        if told.fact.occasion == Occasion::OrderConfirmed {
            self.let_pass(told.recipient(), told.fact.about, cx)?;
        }
        Ok(())
    }

    /// What was sent while its recipient was being deleted is removed with the rest.
    fn forget_what_was_late(
        &self,
        user: Option<UserId>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        if let Some(user_id) = user
            && let Some(ContactOf::Gone { .. }) = cx.get(CONTACTS, &user_id)?
        {
            cx.plan(ForgetLetters { user_id });
        }
        Ok(())
    }

    /// Begins with what has waited its turn, if nothing is left to wait for.
    fn let_pass(
        &self,
        recipient: Uuid,
        about: Uuid,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let queued = cx.rows_by(NOTIFICATIONS_QUEUED, &Span::prefix(&(recipient, about)))?;
        for (_, id, mut told) in queued {
            let waits = told.progress == Progress::WaitsItsTurn;
            if waits && !self.comes_after_another(&told, cx)? {
                self.begin(id, &mut told, cx)?;
                cx.put(NOTIFICATIONS, &id, &told)?;
            }
        }
        Ok(())
    }

    /// Keeps what says that an order is confirmed from going out.
    pub(super) fn withdraw_confirmed(
        &self,
        user: UserId,
        order: OrderId,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let about = (recipient(Some(user)), order.0);
        for (_, id, mut told) in cx.rows_by(NOTIFICATIONS_QUEUED, &Span::prefix(&about))? {
            if told.fact.occasion == Occasion::OrderConfirmed {
                withdraw(&mut told, ORDER_CANCELLED, cx);
                cx.put(NOTIFICATIONS, &id, &told)?;
            }
        }
        Ok(())
    }

    /// Looks through a user's queued notifications after the user became known or was deleted.
    pub(super) fn look_through(
        &self,
        user: UserId,
        after: Option<(Uuid, NotificationId)>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let gone = matches!(cx.get(CONTACTS, &user)?, Some(ContactOf::Gone { .. }));
        let mut span = Span::prefix(&user.0).limit(ROWS_A_TURN);
        if let Some((about, id)) = after {
            span = span.after(&(user.0, about, id));
        }
        let queued = cx.rows_by(NOTIFICATIONS_QUEUED, &span)?;
        let full = queued.len() == ROWS_A_TURN;
        let last = queued.last().map(|((_, about), id, _)| (*about, *id));
        for (_, id, mut told) in queued {
            if gone {
                withdraw(&mut told, FORGOTTEN, cx);
            } else if told.progress == Progress::WaitsForContact {
                self.begin(id, &mut told, cx)?;
            } else {
                continue;
            }
            cx.put(NOTIFICATIONS, &id, &told)?;
        }
        if let Some(after) = last.filter(|_| full) {
            let user_id = user;
            cx.after(Duration::ZERO, MoreQueued { user_id, after });
        }
        Ok(())
    }

    pub(super) fn more_queued(
        &self,
        due: MoreQueued,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.look_through(due.user_id, Some(due.after), cx)
    }

    pub(super) fn contact_wait_over(
        &self,
        due: ContactWaitOver,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let id = due.notification_id;
        if let Some(mut told) = cx.get(NOTIFICATIONS, &id)?
            && told.progress == Progress::WaitsForContact
        {
            self.fail(id, &mut told, CONTACT_UNKNOWN.to_owned(), cx);
            cx.put(NOTIFICATIONS, &id, &told)?;
        }
        Ok(())
    }

    pub(super) fn next_round(
        &self,
        due: NextRound,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let id = due.notification_id;
        if let Some(mut told) = cx.get(NOTIFICATIONS, &id)?
            && told.progress == Progress::Rests
        {
            self.begin(id, &mut told, cx)?;
            cx.put(NOTIFICATIONS, &id, &told)?;
        }
        Ok(())
    }

    fn sent(&self, id: NotificationId, told: &mut Notification, cx: &mut Context<Self>) {
        end(told, Progress::Sent, None, cx);
        cx.publish(NotificationSent {
            notification_id: id,
            user_id: told.user_id,
            order_id: told.order_id(),
            channel: told.channel,
            template: told.template.clone(),
            at: cx.now(),
        });
    }

    fn fail(
        &self,
        id: NotificationId,
        told: &mut Notification,
        reason: String,
        cx: &mut Context<Self>,
    ) {
        tracing::warn!(notification = %id, channel = told.channel.name(), reason, "notification failed");
        end(told, Progress::Failed, Some(reason.clone()), cx);
        cx.publish(NotificationFailed {
            notification_id: id,
            user_id: told.user_id,
            order_id: told.order_id(),
            channel: told.channel,
            template: told.template.clone(),
            reason,
            at: cx.now(),
        });
    }

    /// Sees to it that old notifications are looked for while there are any.
    fn plan_sweep(&self, cx: &mut Context<Self>) -> Result<(), Rejection> {
        if cx.get(SWEEP, &())?.is_none() {
            let timer_due = cx.now().plus(self.sweep_every);
            cx.put(SWEEP, &(), &timer_due)?;
            cx.at(timer_due, SweepDue {});
        }
        Ok(())
    }

    pub(super) fn sweep(&self, _: SweepDue, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let rows = cx.scan(NOTIFICATIONS, &Span::all().limit(ROWS_A_TURN))?;
        let full = rows.len() == ROWS_A_TURN;
        let mut letters = Vec::new();
        // Ids sort by time, so the old ones come first.
        for (id, told) in &rows {
            let is_old = told.created_at.plus(self.retention) <= cx.now();
            if is_old && !told.progress.is_queued() {
                cx.remove(NOTIFICATIONS, id)?;
                letters.push((told.user_id, *id));
            }
        }
        let (removed, kept) = (letters.len(), rows.len() - letters.len());
        if removed > 0 {
            cx.plan(DiscardLetters { letters });
        }
        cx.remove(SWEEP, &())?;
        if full && kept == 0 {
            let at_once = cx.now();
            cx.put(SWEEP, &(), &at_once)?;
            cx.at(at_once, SweepDue {});
        } else if kept > 0 {
            self.plan_sweep(cx)?;
        }
        Ok(())
    }

    pub(super) fn letters_forgotten(
        &self,
        done: Finished<ForgetLetters, ()>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        if let Some(reason) = unfinished(&done.outcome) {
            // A deletion is a promise: it is tried for as long as it takes.
            tracing::error!(user = %done.input.user_id, reason, "letters of a deleted user not removed yet");
            cx.plan(done.input);
        }
        Ok(())
    }

    pub(super) fn letters_discarded(
        &self,
        done: Finished<DiscardLetters, ()>,
        _cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        if let Some(reason) = unfinished(&done.outcome) {
            let letters = done.input.letters.len();
            tracing::error!(
                letters,
                reason,
                "copies of old letters stay; remove them by hand"
            );
        }
        Ok(())
    }
}

fn unfinished(outcome: &Outcome<()>) -> Option<&str> {
    match outcome {
        Outcome::Done(()) => None,
        Outcome::Failed(reason) | Outcome::GaveUp { reason, .. } => Some(reason),
    }
}

/// A notification as the template has it. One that the template cannot fill in has the reason.
fn drafted(
    said: &Said,
    template_id: TemplateId,
    template: &Template,
    now: Timestamp,
) -> Notification {
    let mut told = Notification {
        user_id: said.to,
        fact: said.fact,
        channel: template.channel,
        template_id,
        template: template.name.clone(),
        template_version: template.version,
        subject: String::new(),
        body: Vec::new(),
        progress: Progress::Sending,
        withdrawn: None,
        reason: None,
        rounds: 0,
        created_at: now,
        over_at: None,
    };
    match template.parse() {
        Ok(parsed) => {
            told.subject = text::subject(parsed.subject, &said.values);
            told.body = text::fill(parsed.body, &said.values);
        }
        // Written by a program that knew other variables.
        Err(rejection) => told.reason = Some(rejection.code),
    }
    told
}

/// How long it rests after so many rounds before this one.
fn rest(first: Duration, longest: Duration, rounds: u32) -> Duration {
    let doubled = 2u32
        .checked_pow(rounds)
        .and_then(|factor| first.checked_mul(factor));
    doubled.map_or(longest, |rest| rest.min(longest))
}

/// Keeps it from going out. What an activity has is told so at the end of its round: only then is
/// it known whether it went out.
fn withdraw(told: &mut Notification, reason: &str, cx: &Context<Notifications>) {
    if told.progress == Progress::Sending {
        told.withdrawn = Some(reason.to_owned());
    } else {
        over(told, Progress::Suppressed, reason, cx);
    }
}

fn over(told: &mut Notification, progress: Progress, reason: &str, cx: &Context<Notifications>) {
    end(told, progress, Some(reason.to_owned()), cx);
}

fn end(
    told: &mut Notification,
    progress: Progress,
    reason: Option<String>,
    cx: &Context<Notifications>,
) {
    told.progress = progress;
    told.reason = reason;
    told.withdrawn = None;
    told.body = Vec::new();
    told.over_at = Some(cx.now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_longest() {
        let of = |rounds| rest(minutes(1), hours(2), rounds);
        assert_eq!([of(0), of(1), of(5)], [minutes(1), minutes(2), minutes(32)]);
        assert_eq!([of(7), of(31), of(40)], [hours(2); 3]);
    }
}
