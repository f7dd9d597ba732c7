#![allow(clippy::unwrap_used)]
//! The kit is tested with a small post office: letters by address, a carrier, a reminder.

use std::sync::Arc;

use super::*;
use crate::prelude::*;

const LETTERS: Table<u64, String> = Table::new("letters");
const BY_CITY: Index<String, u64, String> =
    Index::new("letters_by_city", LETTERS, |_, city| Some(city.clone()));
const UNDECLARED: Table<u64, u64> = Table::new("undeclared");

macro_rules! message {
    ($name:ident, $wire:literal, $kind:ident $({ $reply:ident = $answer:ty })?) => {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        struct $name(u64);
        impl Message for $name {
            const NAME: &'static str = $wire;
        }
        impl $kind for $name { $(type $reply = $answer;)? }
    };
}

message!(Posted, "posted", Event);
message!(Heard, "heard", Event);
message!(Post, "post", Command { Reply = String });
message!(Weigh, "weigh", Command { Reply = u32 });
message!(Letters, "letters", Query { Answer = usize });

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Remind(u64);
impl Message for Remind {
    const NAME: &'static str = "remind";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Carry(u64);
impl Activity<Office> for Carry {
    const NAME: &'static str = "carry";
    const DESTINATION: &'static str = "carrier";
    const IDEMPOTENT: bool = true;
    type Output = u32;
    async fn run(self, _: Arc<Office>, _: ActivityContext) -> Result<u32, ActivityError> {
        Ok(1)
    }
}

struct Scales;
impl Service for Scales {
    const NAME: &'static str = "scales";
    fn handlers(_: &mut Handlers<Self>) {}
}

struct Office;
impl Service for Office {
    const NAME: &'static str = "office";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(LETTERS)
            .index(BY_CITY)
            .command(Self::post)
            .query(|_, _: Letters, view| Ok(view.scan(LETTERS, &Span::all())?.len()))
            .event(|_, posted: Posted, cx| Ok(cx.put(LETTERS, &posted.0, &"seen".to_owned())?))
            .event(|_, heard: Heard, cx| Ok(cx.put(UNDECLARED, &heard.0, &0)?))
            .timer(|_, remind: Remind, cx| {
                cx.put(LETTERS, &remind.0, &"reminded".to_owned())?;
                if remind.0 > 0 {
                    cx.after(seconds(0), Remind(remind.0 - 1));
                }
                Ok(())
            })
            .reply(|_, weighed: Replied<Weigh>, cx| {
                let text = match weighed.result {
                    Ok(grams) => format!("{grams} g"),
                    Err(rejection) => rejection.code,
                };
                Ok(cx.put(LETTERS, &0, &text)?)
            })
            .activity(|_, carried: Finished<Carry, u32>, cx| {
                Ok(cx.put(LETTERS, &carried.input.0, &format!("{:?}", carried.outcome))?)
            })
            .publishes::<Posted>()
            .sends::<Scales, Weigh>();
    }
}

impl Office {
    fn post(&self, post: Post, cx: &mut Context<Self>) -> Result<String, Rejection> {
        cx.put(LETTERS, &post.0, &"posted".to_owned())?;
        cx.publish(Posted(post.0));
        cx.send::<Scales, Weigh>(Weigh(post.0));
        cx.plan(Carry(post.0));
        let gone = cx.after(seconds(1), Remind(99));
        cx.cancel(gone);
        cx.after(minutes(1), Remind(post.0));
        cx.notify(&post.0);
        if post.0 == 13 {
            return Err(Rejection::conflict("unlucky", "not this one"));
        }
        Ok(cx.new_id().to_string())
    }
}

#[test]
fn a_turn_shows_all_that_follows_from_it() {
    let mut kit = ServiceKit::of(Office);
    let turn = kit.command(Post(2));
    assert_eq!(turn.published::<Posted>(), [Posted(2)]);
    assert_eq!(turn.published_names(), ["posted"]);
    assert_eq!(turn.sent::<Weigh>(), [Weigh(2)]);
    assert_eq!(turn.planned::<Carry>(), [Carry(2)]);
    assert_eq!(
        turn.timers::<Remind>(),
        [(kit.now().plus(minutes(1)), Remind(2))]
    );
    assert_eq!(turn.timers_cancelled(), 1);
    assert!(turn.notifies(&2u64) && !turn.notifies(&3u64));
    assert_eq!(kit.rows(LETTERS), [(2, "posted".to_owned())]);
    assert_eq!(kit.query(Letters(0)), Ok(1));
}

#[test]
fn a_rejected_turn_leaves_nothing_behind() {
    let mut kit = ServiceKit::of(Office);
    let turn = kit.command(Post(13));
    assert_eq!(turn.rejection().code, "unlucky");
    assert!(turn.is_quiet());
    assert!(kit.rows(LETTERS).is_empty());
    assert!(kit.waiting_timers::<Remind>().is_empty());
    assert!(kit.pending::<Carry>().is_empty());
    assert!(kit.deliver_own().is_empty());
}

#[test]
fn given_rows_are_found_by_their_indexes() {
    let mut kit = ServiceKit::of(Office);
    kit.given(LETTERS, &4, &"Bonn".to_owned());
    kit.given(LETTERS, &5, &"Ulm".to_owned());
    kit.given(LETTERS, &4, &"Ulm".to_owned());
    let span = Span::prefix(&"Ulm".to_owned());
    assert_eq!(
        kit.view(|view| Ok(view.index(BY_CITY, &span)?)),
        [("Ulm".to_owned(), 4), ("Ulm".to_owned(), 5)]
    );
}

#[test]
fn timers_fire_when_due_and_so_do_those_they_set() {
    let mut kit = ServiceKit::of(Office);
    kit.command(Post(2));
    assert!(kit.fire_due_timers().is_empty());
    kit.advance(minutes(1));
    assert_eq!(kit.fire_due_timers().len(), 3);
    assert_eq!(kit.get(LETTERS, &1), Some("reminded".to_owned()));
    assert!(kit.fire_next_timer().is_none());
}

#[test]
fn the_next_timer_takes_the_time_with_it() {
    let mut kit = ServiceKit::of(Office);
    kit.command(Post(0));
    let due = kit.now().plus(minutes(1));
    assert!(kit.fire_next_timer().is_some());
    assert_eq!(kit.now(), due);
}

#[test]
fn an_activity_is_pending_until_it_ends() {
    let mut kit = ServiceKit::of(Office);
    kit.command(Post(2));
    assert_eq!(kit.pending::<Carry>(), [Carry(2)]);
    kit.activity_result(Carry(2), Outcome::Done(7));
    assert!(kit.pending::<Carry>().is_empty());
    assert_eq!(kit.get(LETTERS, &2), Some("Done(7)".to_owned()));
}

#[test]
fn replies_and_refusals_of_other_services_arrive() {
    let mut kit = ServiceKit::of(Office);
    kit.reply::<Weigh>(Ok(20)).reply();
    assert_eq!(kit.get(LETTERS, &0), Some("20 g".to_owned()));
    kit.reply::<Weigh>(Err(Rejection::invalid("too_heavy", "no")));
    assert_eq!(kit.get(LETTERS, &0), Some("too_heavy".to_owned()));
}

#[test]
fn own_events_arrive_only_when_delivered() {
    let mut kit = ServiceKit::of(Office);
    kit.command(Post(2));
    assert_eq!(kit.get(LETTERS, &2), Some("posted".to_owned()));
    assert_eq!(kit.deliver_own().len(), 1);
    assert_eq!(kit.get(LETTERS, &2), Some("seen".to_owned()));
}

#[test]
fn two_kits_of_one_seed_give_the_same_ids() {
    let id = |seed| {
        let mut kit = ServiceKit::of(Office).seeded(seed);
        kit.command(Post(2)).reply().clone()
    };
    assert_eq!(id(5), id(5));
    assert_ne!(id(5), id(6));
}

#[test]
#[should_panic(expected = "office uses table `undeclared` without declaring it")]
fn a_tainted_turn_fails_the_test_with_its_reason() {
    ServiceKit::of(Office).event(Heard(1));
}

#[test]
#[should_panic(expected = "office does not handle Command `weigh`; add it to its `handlers`")]
fn a_message_without_a_handler_fails_the_test() {
    ServiceKit::of(Office).command(Weigh(1));
}
