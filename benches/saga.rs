//! W2: five durable steps over four services, beside what the disk and the bare journal can do in
//! the same run.

#[path = "workloads/chain.rs"]
pub mod chain;
#[path = "workloads/fdatasync.rs"]
pub mod fdatasync;
#[path = "workloads/journal.rs"]
pub mod journal;
#[path = "workloads/setting.rs"]
pub mod setting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};

use journal::Footprint;
use setting::{OUTSTANDING, Outcome};

/// sled spends much of its time allocating; the commerce binary has this allocator too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What one order leaves in the journal, as measured.
const FOOTPRINT: Footprint = Footprint {
    commits: 5,
    bytes: 309,
};

fn saga(criterion: &mut Criterion) {
    try_saga(criterion).unwrap_or_else(|error| panic!("the bench could not run: {error}"));
}

fn try_saga(criterion: &mut Criterion) -> Outcome<()> {
    let dir = setting::data_directory()?;
    setting::disk(criterion, dir.path())?;
    setting::ceiling(criterion, dir.path(), "W2", FOOTPRINT)?;
    let runtime = setting::runtime()?;
    let (system, orders) = runtime.block_on(chain::start(&dir.path().join("chain")))?;
    let placed = Arc::new(AtomicU64::new(0));
    let mut group = setting::group(criterion, "W2 order saga");
    for outstanding in OUTSTANDING {
        let (handle, placed) = (orders.clone(), placed.clone());
        setting::measure(&mut group, &runtime, outstanding, move |_, _| {
            let (orders, order) = (handle.clone(), placed.fetch_add(1, Ordering::Relaxed));
            async move { chain::complete(&orders, order).await }
        });
    }
    group.finish();
    let report = system.report();
    setting::say_footprint(&report);
    runtime.block_on(system.shutdown(setting::DRAIN))?;
    Ok(())
}

criterion_group!(benches, saga);
criterion_main!(benches);
