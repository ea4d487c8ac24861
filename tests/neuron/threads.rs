//! Several threads: one at a time for each core, all at once over cores.

use std::time::{Duration, Instant};

use longhaul::neuron::device::Runtime;

use crate::golden::{matmul_bound, matmul_check};
use crate::isolated::{assert_clean, isolated};

/// Threads share programs, tensors and sets of one core: the stand-in counts two in one core's calls as a violation.
#[test]
fn a_core_is_called_by_one_thread_at_a_time() {
    let delays = "nrt_tensor_read#*=delay:1;nrt_tensor_write#*=delay:1;nrt_tensor_allocate#*=delay:1";
    isolated("threads::a_core_is_called_by_one_thread_at_a_time", "2_34", &[], |fake| {
        let runtime = Runtime::start().unwrap();
        let core = runtime.core(0).unwrap();
        let bound = matmul_bound(&core);
        fake.plan(delays);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        matmul_check(&bound);
                        let tensor = core.allocate("t", 64).unwrap();
                        tensor.write(0, &[7; 64]).unwrap();
                        bound.run().unwrap();
                    }
                });
            }
        });
        drop((bound, core, runtime));
        assert_clean(fake);
    });
}

#[test]
fn cores_run_at_once() {
    isolated("threads::cores_run_at_once", "2_34", &[], |fake| {
        let runtime = Runtime::start().unwrap();
        let bound: Vec<_> = (0..4).map(|idx| matmul_bound(&runtime.core(idx).unwrap())).collect();
        fake.plan("nrt_execute#*=delay:300");
        let begun = Instant::now();
        std::thread::scope(|scope| bound.iter().for_each(|bound| drop(scope.spawn(|| bound.run().unwrap()))));
        assert!(begun.elapsed() < Duration::from_millis(1100), "four waits of 300 ms took {:?}", begun.elapsed());
        drop((bound, runtime));
        assert_clean(fake);
    });
}

/// The runtime closes behind the last thing that needs it, wherever that is dropped.
#[test]
fn the_last_one_closes() {
    isolated("threads::the_last_one_closes", "2_34", &[], |fake| {
        let runtime = Runtime::start().unwrap();
        let again = Runtime::start().expect("the runtime of the process");
        let tensor = runtime.core(1).unwrap().allocate("t", 64).unwrap();
        drop((runtime, again));
        assert_eq!(fake.counters().is_open, 1);
        std::thread::spawn(move || drop(tensor)).join().unwrap();
        assert_clean(fake);
    });
}
