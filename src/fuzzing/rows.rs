//! The library's own rows of a service: stored answers, parked messages, dead letters, the ends of
//! activities, sagas.

use super::Verdict;
use super::values::opens_again;
use crate::clock::Timestamp;
use crate::codec::{self, Subject};
use crate::commit::{Sequence, ServiceId};
use crate::key::TableKey;
use crate::parked::{self, DEAD, DeadReason, DeadRow, Failure, Origin, PARKED, ParkedRow, Why};
use crate::rejection::Rejection;
use crate::sagas::row::SagaRow;
use crate::turn::{self, ANSWERS, AnswerRow};

/// As in the golden bytes.
const KEY: &[u8] = b"k";

/// As in the golden bytes of parked messages and dead letters.
fn origin() -> Origin {
    Origin::Message {
        sender: ServiceId(7),
        sequence: Sequence(3),
    }
}

pub(super) fn answer(data: &[u8]) -> Verdict {
    opens_again::<AnswerRow>(Subject::row(ANSWERS, KEY), 1, data, codec::no_older)
}

pub(super) fn mend_answer(data: &mut [u8]) {
    codec::mend(Subject::row(ANSWERS, KEY), data);
}

pub(super) fn answers() -> Vec<Vec<u8>> {
    let golden = include_bytes!("../../tests/golden/answer-row-1.bin");
    let done = AnswerRow {
        fingerprint: [1; 16],
        at: Timestamp(1_000),
        answer: Ok(vec![1, 2, 3]),
    };
    let refused = AnswerRow {
        answer: Err(Rejection::not_found("gone", "it is gone").with("id", 7)),
        ..done.clone()
    };
    let sealed =
        [done, refused].map(|row| codec::seal(Subject::row(ANSWERS, KEY), 1, &row).unwrap());
    [golden.to_vec()].into_iter().chain(sealed).collect()
}

pub(super) fn parked(data: &[u8]) -> Verdict {
    let key = origin().to_bytes();
    let row = parked::open_parked(&key, data).map_err(|error| error.to_string())?;
    let again = parked::seal_parked(&origin(), &row).unwrap();
    assert_eq!(parked::open_parked(&key, &again), Ok(row));
    Ok(())
}

pub(super) fn mend_parked(data: &mut [u8]) {
    codec::mend(Subject::row(PARKED, &origin().to_bytes()), data);
}

fn history() -> Vec<Failure> {
    vec![Failure {
        at: Timestamp(5),
        reason: "panicked".to_owned(),
    }]
}

pub(super) fn parked_rows() -> Vec<Vec<u8>> {
    let golden = include_bytes!("../../tests/golden/parked-row-1.bin");
    let row = ParkedRow {
        why: Why::Unreadable,
        attempts: 0,
        next_at: Timestamp(i64::MAX),
        history: history(),
        envelope: Vec::new(),
        result: Some(vec![1, 2]),
    };
    let sealed = parked::seal_parked(&origin(), &row).unwrap();
    vec![golden.to_vec(), sealed.to_vec()]
}

pub(super) fn dead(data: &[u8]) -> Verdict {
    let key = origin().to_bytes();
    let row = parked::open_dead(&key, data).map_err(|error| error.to_string())?;
    let again = parked::seal_dead(&origin(), &row).unwrap();
    assert_eq!(parked::open_dead(&key, &again), Ok(row));
    Ok(())
}

pub(super) fn mend_dead(data: &mut [u8]) {
    codec::mend(Subject::row(DEAD, &origin().to_bytes()), data);
}

pub(super) fn dead_rows() -> Vec<Vec<u8>> {
    let golden = include_bytes!("../../tests/golden/dead-row-1.bin");
    let row = DeadRow {
        reason: DeadReason::Retired,
        died_at: Timestamp(9),
        attempts: 5,
        history: history(),
        envelope: vec![7],
        result: None,
    };
    let sealed = parked::seal_dead(&origin(), &row).unwrap();
    vec![golden.to_vec(), sealed.to_vec()]
}

pub(super) fn result(data: &[u8]) -> Verdict {
    let result = turn::open_result(data).map_err(|error| error.to_string())?;
    let again = turn::seal_result(&result).unwrap();
    assert_eq!(turn::open_result(&again), Ok(result));
    Ok(())
}

pub(super) fn mend_result(data: &mut [u8]) {
    codec::mend(Subject::row(turn::RESULT, &[]), data);
}

pub(super) fn results() -> Vec<Vec<u8>> {
    use crate::activity::Outcome;
    let golden = include_bytes!("../../tests/golden/activity-result-1.bin");
    let ends = [
        Outcome::Failed("declined".to_owned()),
        Outcome::GaveUp {
            attempts: 5,
            reason: "no answer".to_owned(),
        },
    ];
    let sealed = ends.map(|end| turn::seal_result(&end).unwrap());
    [golden.to_vec()].into_iter().chain(sealed).collect()
}

const SAGA: Subject<'static> = Subject::row("wait", KEY);

pub(super) fn saga(data: &[u8]) -> Verdict {
    let row: SagaRow =
        codec::open(SAGA, 1, data, codec::no_older).map_err(|error| error.to_string())?;
    let again = codec::seal(SAGA, 1, &row).unwrap();
    let opened: SagaRow = codec::open(SAGA, 1, &again, codec::no_older).unwrap();
    assert_eq!(codec::seal(SAGA, 1, &opened).unwrap(), again);
    Ok(())
}

pub(super) fn mend_saga(data: &mut [u8]) {
    codec::mend(SAGA, data);
}

pub(super) fn sagas() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../tests/golden/saga-row-1.bin").to_vec()]
}
