//! W1: durable turns, beside what the disk and the bare journal can do in the same run.

#[path = "workloads/counter.rs"]
pub mod counter;
#[path = "workloads/fdatasync.rs"]
pub mod fdatasync;
#[path = "workloads/journal.rs"]
pub mod journal;
#[path = "workloads/setting.rs"]
pub mod setting;

use criterion::{Criterion, criterion_group, criterion_main};

use counter::Increment;
use journal::Footprint;
use setting::{OUTSTANDING, Outcome};

/// sled spends much of its time allocating; the commerce binary has this allocator too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What one increment leaves in the journal, as measured.
const FOOTPRINT: Footprint = Footprint {
    commits: 1,
    bytes: 173,
};

fn turns(criterion: &mut Criterion) {
    try_turns(criterion).unwrap_or_else(|error| panic!("the bench could not run: {error}"));
}

fn try_turns(criterion: &mut Criterion) -> Outcome<()> {
    let dir = setting::data_directory()?;
    setting::disk(criterion, dir.path())?;
    setting::ceiling(criterion, dir.path(), "W1", FOOTPRINT)?;
    let runtime = setting::runtime()?;
    let (system, counter) = runtime.block_on(counter::start(&dir.path().join("counter")))?;
    let mut group = setting::group(criterion, "W1 counter");
    for outstanding in OUTSTANDING {
        let handle = counter.clone();
        setting::measure(&mut group, &runtime, outstanding, move |client, nth| {
            let handle = handle.clone();
            let counter = counter::pick(client, nth);
            async move { handle.call(Increment { counter }).await.map(|_| ()) }
        });
    }
    group.finish();
    let report = system.report();
    setting::say_footprint(&report);
    runtime.block_on(system.shutdown(setting::DRAIN))?;
    Ok(())
}

criterion_group!(benches, turns);
criterion_main!(benches);
