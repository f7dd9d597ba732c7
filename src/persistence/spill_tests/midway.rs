//! What happens while a checkpoint is under way: turns, readers, and a disk that refuses.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A turn of the receiver that takes everything up to a number, as a relay and it would do it.
fn consume(store: &Store, stream: StreamId, upto: u64) {
    let mark = Mark {
        consumed: Sequence(upto),
        applied: upto,
        ..Mark::default()
    };
    let sender = stream.sender;
    let commit = Commit {
        service: stream.receiver,
        at: Timestamp(0),
        seed: 0,
        cause: Cause::System {
            note: String::new(),
        },
        mark: Some(MarkMove { sender, mark }),
        writes: Vec::new(),
        sends: Vec::new(),
    };
    let epoch = store.take_over(stream.receiver);
    store.queue(epoch, commit, Vec::new()).unwrap();
}

/// Reads everything behind a number.
fn read(store: &Store, stream: StreamId, after: u64) -> Vec<u64> {
    let run = store.outbox(stream, Sequence(after), usize::MAX, usize::MAX);
    run.unwrap().iter().map(|(number, _)| number.0).collect()
}

#[test]
fn a_receiver_that_comes_back_at_any_step_of_a_checkpoint_takes_nothing_from_it() {
    for (upto, is_durable) in [
        (30, false),
        (57, false),
        (90, false),
        (57, true),
        (90, true),
    ] {
        for step in 1.. {
            let mut office = Office::new(step);
            office.send(8);
            office.checkpoint();
            office.send(60);
            office.consume(3);
            office.checkpoint();
            office.send(22);
            office.consume(7);
            while office.store().write_group().unwrap() {}
            let (store, stream) = (office.store().clone(), office.stream());
            let calls = Arc::new(AtomicU64::new(0));
            let counted = calls.clone();
            office.watch.set(move |_, _| {
                if counted.fetch_add(1, Ordering::Relaxed) + 1 == step {
                    consume(&store, stream, upto);
                    let left: Vec<u64> = (upto + 1..=90).collect();
                    assert_eq!(read(&store, stream, 0), left, "at step {step}");
                }
                Ok(())
            });
            office.checkpoint();
            office.watch.clear();
            if calls.load(Ordering::Relaxed) < step {
                assert!(step > 10, "{step}");
                break;
            }
            assert_eq!(read(office.store(), stream, 0).len() as u64, 90 - upto);
            if is_durable {
                while office.store().write_group().unwrap() {}
                office.consumed = upto;
            }
            // Without a sync the receiver's turn is lost, and everything waits for it again.
            match step % 2 {
                0 => office.crash(),
                _ => office.kill(),
            }
            if step % 3 == 0 {
                office.engine.destroy();
            }
            office.open().unwrap();
            office.check();
            office.consume(1.min(90 - office.consumed));
            office.checkpoint();
            office.check();
        }
    }
}
