//! Crashes while an earlier crash is recovered from.

use super::*;

/// Worlds with spilled messages and without, each stopped by a crash at every ninth operation.
#[test]
fn a_crash_at_any_operation_of_a_recovery_leaves_what_the_first_crash_left() {
    let (mut interrupted, mut rebuilt) = (0, 0);
    for seed in 0..4 {
        for operation in (1 + seed..=operations_of(seed)).step_by(9) {
            let crashed = || {
                let mut world = World::new(seed);
                world.disk.fail_at(operation, Fault::Crash);
                assert!(world.work(ACTS).is_err());
                world.crash();
                world
            };
            let world = crashed();
            let before = world.disk.operations();
            let (_, recovered) = world.open().unwrap();
            rebuilt += u64::from(recovered.rebuilt.is_some());
            for again in 1..=world.disk.operations() - before {
                let mut world = crashed();
                world.disk.fail_at(before + again, Fault::Crash);
                assert!(
                    world.open().is_err(),
                    "seed {seed} operation {operation}+{again}"
                );
                interrupted += 1;
                world.crash();
                world.recover();
            }
        }
    }
    // Recoveries must have been of every kind, and long enough to be interrupted.
    assert!(interrupted > 300, "{interrupted}");
    assert!(rebuilt > 5, "{rebuilt}");
}
