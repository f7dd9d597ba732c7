//! What goes wrong in a run, and when: all of it by the seed.
//!
//! A seed has a random part of all troubles. Some strike at an instant (a power loss, a clock that
//! jumps), some last a while (a disk that is full, messages that get lost).

use std::fmt;
use std::time::Duration;

use crate::clock::{days, minutes, seconds};
use crate::testing::{Child, Corruption, Fault, TestSystem, TransportFaults};

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    PowerLoss,
    Kill,
    CrashAtOperation,
    Restart,
    EngineDamage,
    DiskError,
    DiskFull,
    SlowDisk,
    BrokenActor,
    ClockJump,
    Panics,
    Activities,
    Transport,
}

impl Trouble {
    const ALL: [Trouble; 13] = [
        Trouble::PowerLoss,
        Trouble::Kill,
        Trouble::CrashAtOperation,
        Trouble::Restart,
        Trouble::EngineDamage,
        Trouble::DiskError,
        Trouble::DiskFull,
        Trouble::SlowDisk,
        Trouble::BrokenActor,
        Trouble::ClockJump,
        Trouble::Panics,
        Trouble::Activities,
        Trouble::Transport,
    ];

    /// How often it strikes, compared to others.
    fn weight(self) -> u64 {
        match self {
            Trouble::PowerLoss | Trouble::Kill | Trouble::CrashAtOperation => 6,
            Trouble::Panics | Trouble::Activities | Trouble::Transport => 3,
            Trouble::Restart
            | Trouble::EngineDamage
            | Trouble::DiskError
            | Trouble::DiskFull
            | Trouble::SlowDisk
            | Trouble::BrokenActor => 2,
            Trouble::ClockJump => 1,
        }
    }

    fn ends_the_process(self) -> bool {
        matches!(
            self,
            Trouble::PowerLoss | Trouble::Kill | Trouble::CrashAtOperation
        )
    }
}

/// What the run itself has to do about a trouble that has struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// The power fails now.
    PowerLoss,
    /// The process is killed now.
    Kill,
    /// The process is asked to end and started anew.
    Restart,
    /// Nothing: it has been seen to.
    Dealt,
}

/// The troubles of one run.
pub(super) struct Chaos {
    random: fastrand::Rng,
    troubles: Vec<Trouble>,
    /// The longest time between two strokes.
    pause_max: Duration,
    /// Troubles that last, with their ends.
    lasting: Vec<(Duration, Trouble)>,
    /// By how many microseconds the wall clock is ahead, and the most it ever was.
    shift: i64,
    shift_max: i64,
}

impl Chaos {
    pub(super) fn new(seed: u64, peaceful: bool) -> Chaos {
        let mut random = fastrand::Rng::with_seed(seed.rotate_left(32) ^ 0xC4A0_5C4A_05C4_A05C);
        let mut troubles: Vec<Trouble> =
            Trouble::ALL.into_iter().filter(|_| random.bool()).collect();
        if !troubles.iter().any(|trouble| trouble.ends_the_process()) {
            troubles.push(Trouble::ALL[random.usize(..3)]);
        }
        if peaceful {
            troubles.clear();
        }
        Chaos {
            pause_max: seconds(random.u64(60..=400)),
            random,
            troubles,
            lasting: Vec::new(),
            shift: 0,
            shift_max: 0,
        }
    }

    /// How long the run goes on undisturbed.
    pub(super) fn pause(&mut self) -> Duration {
        self.up_to(self.pause_max)
    }

    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64())
    }

    /// How long the system stays down after its end.
    pub(super) fn down_time(&mut self) -> Duration {
        match self.random.u8(..8) {
            0 => self.up_to(minutes(2)),
            _ => self.up_to(seconds(2)),
        }
    }

    /// Ends what has lasted long enough.
    pub(super) fn relent(&mut self, test: &TestSystem) {
        let now = test.clock().elapsed();
        let over = |(end, _): &(Duration, Trouble)| *end <= now;
        let ended: Vec<Trouble> = self
            .lasting
            .iter()
            .filter(|lasting| over(lasting))
            .map(|(_, trouble)| *trouble)
            .collect();
        self.lasting.retain(|lasting| !over(lasting));
        for trouble in ended {
            let still = self.lasting.iter().any(|(_, other)| *other == trouble);
            if !still {
                end(trouble, test);
            }
        }
    }

    /// When the next trouble that lasts is over.
    pub(super) fn relents_at(&self) -> Option<Duration> {
        self.lasting.iter().map(|(end, _)| *end).min()
    }

    /// Something goes wrong; `note` is told what.
    pub(super) fn strike(
        &mut self,
        test: &TestSystem,
        note: impl Fn(&'static str, fmt::Arguments<'_>),
    ) -> Blow {
        let Some(trouble) = self.choose() else {
            return Blow::Dealt;
        };
        let random = &mut self.random;
        match trouble {
            Trouble::PowerLoss => return Blow::PowerLoss,
            Trouble::Kill => return Blow::Kill,
            Trouble::Restart => return Blow::Restart,
            Trouble::CrashAtOperation => {
                let operation = random.u64(1..=60);
                note(
                    "power loss planned",
                    format_args!("at operation {operation} from now"),
                );
                test.crash_at(operation);
            }
            Trouble::EngineDamage => {
                let how = [
                    Corruption::RefusesToOpen,
                    Corruption::OpensEmpty,
                    Corruption::LosesRows,
                ][random.usize(..3)];
                note("engine damaged", format_args!("{how:?}"));
                // Only a machine that goes down may leave an engine like that.
                test.engine().corrupt(how);
                return Blow::PowerLoss;
            }
            Trouble::DiskError => {
                let fault = [Fault::Eio, Fault::Enospc, Fault::FailedSync][random.usize(..3)];
                let operation = random.u64(1..=60);
                note(
                    "disk error planned",
                    format_args!("{fault:?} at operation {operation} from now"),
                );
                let at = test.disk().operations() + operation;
                test.disk().fail_at(at, fault);
            }
            Trouble::DiskFull => {
                let left = random.u64(..256 * 1024);
                note("disk full", format_args!("but for {left} bytes"));
                test.disk().set_capacity(Some(test.disk().used() + left));
            }
            Trouble::SlowDisk => {
                let latency_max = Duration::from_millis(random.u64(1..=200));
                note(
                    "slow disk",
                    format_args!("up to {latency_max:?} an operation"),
                );
                test.disk().slow_down(latency_max);
            }
            Trouble::BrokenActor => {
                let services = &test.system().report().services;
                let child = [Child::Service, Child::Relay, Child::Pool][random.usize(..3)];
                let of = &services[random.usize(..services.len())].name;
                note("actor killed", format_args!("{child:?} of {of}"));
                test.break_child(of, child);
            }
            Trouble::ClockJump => {
                let day = i64::try_from(days(1).as_micros()).unwrap_or(i64::MAX);
                // What is kept for days should not be given up within an hour.
                let forward = self.shift < 2 * day && random.bool();
                let by = match forward {
                    true => random.i64(1..=day),
                    false => -random.i64(1..=day),
                };
                note("clock jump", format_args!("by {} s", by / 1_000_000));
                test.clock().jump(by);
                self.shift += by;
                self.shift_max = self.shift_max.max(self.shift);
            }
            Trouble::Panics => {
                let probability = random.f64() * 0.05;
                note("panics begin", format_args!("with {probability:.4}"));
                test.panic_with(probability);
            }
            Trouble::Activities => {
                let probability = random.f64() * 0.5;
                note("activities go wrong", format_args!("with {probability:.4}"));
                test.fail_activities_with(probability);
            }
            Trouble::Transport => {
                let mut part = |most: f64| match random.bool() {
                    true => random.f64() * most,
                    false => 0.0,
                };
                let faults = TransportFaults {
                    loss: part(0.3),
                    duplication: part(0.3),
                    delay_max: seconds(2).mul_f64(part(1.0)),
                };
                note("messages go wrong", format_args!("{faults:?}"));
                test.transport_with(faults);
            }
        }
        self.last(trouble, test);
        Blow::Dealt
    }

    fn choose(&mut self) -> Option<Trouble> {
        let all: u64 = self.troubles.iter().map(|trouble| trouble.weight()).sum();
        let mut drawn = self.random.u64(..all.max(1));
        for trouble in &self.troubles {
            match drawn.checked_sub(trouble.weight()) {
                Some(left) => drawn = left,
                None => return Some(*trouble),
            }
        }
        None
    }

    fn last(&mut self, trouble: Trouble, test: &TestSystem) {
        let most = match trouble {
            Trouble::DiskFull | Trouble::SlowDisk => minutes(1),
            Trouble::Panics | Trouble::Activities | Trouble::Transport => minutes(3),
            _ => return,
        };
        let end = test.clock().elapsed() + self.up_to(most);
        self.lasting.push((end, trouble));
    }

    /// Perhaps plans that the power fails again while the system starts.
    pub(super) fn perhaps_again(&mut self, test: &TestSystem) {
        if self.troubles.contains(&Trouble::CrashAtOperation) && self.random.u8(..4) == 0 {
            test.crash_at(self.random.u64(1..=40));
        }
    }

    /// Lets the disk work again: nobody gets up on one that never does.
    pub(super) fn ease(&mut self, test: &TestSystem) {
        test.disk().clear_faults();
        self.lasting
            .retain(|(_, trouble)| *trouble != Trouble::DiskFull);
        end(Trouble::DiskFull, test);
    }

    /// Nothing goes wrong any more, and the clock is right again.
    pub(super) fn heal(&mut self, test: &TestSystem) {
        self.troubles.clear();
        self.lasting.clear();
        test.disk().clear_faults();
        for trouble in Trouble::ALL {
            end(trouble, test);
        }
        test.clock().jump(self.shift_max - self.shift);
        self.shift = self.shift_max;
    }
}

fn end(trouble: Trouble, test: &TestSystem) {
    match trouble {
        Trouble::DiskFull => test.disk().set_capacity(None),
        Trouble::SlowDisk => test.disk().slow_down(Duration::ZERO),
        Trouble::Panics => test.panic_with(0.0),
        Trouble::Activities => test.fail_activities_with(0.0),
        Trouble::Transport => test.transport_with(TransportFaults::default()),
        Trouble::PowerLoss
        | Trouble::Kill
        | Trouble::CrashAtOperation
        | Trouble::Restart
        | Trouble::EngineDamage
        | Trouble::DiskError
        | Trouble::BrokenActor
        | Trouble::ClockJump => {}
    }
}
