//! Losing the device, failing in a drop, and running out of memory.

use std::time::{Duration, Instant};

use longhaul::error::{Error, Fault};
use longhaul::neuron::NeuronError;
use longhaul::neuron::device::Runtime;

use crate::golden::matmul_bound;
use crate::isolated::{assert_clean, isolated};
use crate::programs::failure;

/// An execution that hangs until the runtime's limit: then every call fails at once with that failure, and nothing is
/// called, freed or closed, which would hang.
#[test]
fn a_hang_loses_the_device() {
    isolated("loss::a_hang_loses_the_device", "2_34", &[], |fake| {
        let runtime = Runtime::start().unwrap();
        let core = runtime.core(0).unwrap();
        let bound = matmul_bound(&core);
        fake.plan("nrt_execute#1=hang:100");
        let hung = failure(bound.run());
        assert_eq!((hung.operation, hung.status.0, hung.status.fault()), ("nrt_execute", 5, Fault::Process));
        assert_eq!(runtime.lost(), Some(hung.clone()));

        let begun = Instant::now();
        let lost = |result: longhaul::neuron::Result<()>, operation: &str| match result {
            Err(NeuronError::Lost { operation: refused, cause }) => assert_eq!((refused, &cause), (operation, &hung)),
            other => panic!("{operation} after the loss: {other:?}"),
        };
        lost(bound.run(), "nrt_execute");
        lost(bound.write("x", &[0_u8; 4]), "nrt_tensor_write");
        lost(bound.read::<u8>("out").map(drop), "nrt_tensor_read");
        lost(core.allocate("t", 4).map(drop), "nrt_tensor_allocate");
        lost(core.tensor_set().map(drop), "nrt_allocate_tensor_set");
        lost(core.memory().map(drop), "nrt_get_vnc_memory_stats");
        lost(runtime.core(1).unwrap().load("p", b"no NEFF").map(drop), "nrt_load");
        let error = Error::from(bound.run().unwrap_err());
        assert!(matches!(error, Error::Device { fault: Fault::Process, .. }), "{error:?}");
        assert!(error.to_string().contains("program `test` on core 0"), "{error}");
        drop((bound, core, runtime));
        assert!(begun.elapsed() < Duration::from_secs(5), "something hung");
        assert_eq!((fake.counters().n_calls_after_loss, fake.counters().is_open), (0, 1));
        assert_eq!(fake.calls(), [("nrt_execute".to_string(), 1)]);
    });
}

/// A thread that waits for a core whose program loses the device is told so, and does not call.
#[test]
fn who_waits_for_a_core_learns_of_its_loss() {
    isolated("loss::who_waits_for_a_core_learns_of_its_loss", "2_35", &[], |fake| {
        let runtime = Runtime::start().unwrap();
        let core = runtime.core(0).unwrap();
        let bound = matmul_bound(&core);
        fake.plan("nrt_execute#1=hang:300");
        std::thread::scope(|scope| {
            let running = scope.spawn(|| failure(bound.run()));
            std::thread::sleep(Duration::from_millis(100));
            let waiting = scope.spawn(|| core.allocate("t", 64));
            assert_eq!(running.join().unwrap().status.0, 5);
            assert!(matches!(waiting.join().unwrap(), Err(NeuronError::Lost { .. })));
        });
        assert_eq!(fake.counters().n_calls_after_loss, 0);
    });
}

#[test]
fn a_failure_in_a_drop_is_told_by_the_next_call() {
    isolated("loss::a_failure_in_a_drop_is_told_by_the_next_call", "2_30", &[], |fake| {
        let runtime = Runtime::start().unwrap();
        let core = runtime.core(0).unwrap();
        let bound = matmul_bound(&core);
        fake.plan("nrt_unload#1=3");
        drop(bound);
        let parked = failure(core.allocate("t", 64));
        assert_eq!(
            (parked.operation, parked.in_drop, parked.subject.as_str()),
            ("nrt_unload", true, "program `test` on core 0")
        );
        assert_eq!(fake.counters().tensors, 0, "the call that told of it did not run");
        core.allocate("t", 64).expect("it is told once");
        drop((core, runtime));
        assert_eq!((fake.counters().programs, fake.counters().is_open), (1, 1), "closing over a program is unsafe");
    });
}

#[test]
fn full_memory_is_typed_and_passes() {
    isolated("loss::full_memory_is_typed_and_passes", "2_33", &[("FAKE_NRT_HBM", "1000")], |fake| {
        let runtime = Runtime::start().unwrap();
        let core = runtime.core(0).unwrap();
        let first = core.allocate("first", 600).unwrap();
        let full = core.allocate("second", 600).unwrap_err();
        assert_eq!(full.fault(), Fault::OutOfMemory);
        assert!(full.to_string().contains("tensor `second` of 600 bytes on core 0"), "{full}");
        runtime.core(1).unwrap().allocate("second", 600).expect("another core has memory of its own");
        drop(first);
        core.allocate("second", 600).expect("now there is room");
        drop((core, runtime));
        assert_clean(fake);
    });
}

/// Every queue full, every core busy: the same call works later.
#[test]
fn backpressure_passes() {
    isolated("loss::backpressure_passes", "2_32", &[], |fake| {
        let runtime = Runtime::start().unwrap();
        let bound = matmul_bound(&runtime.core(0).unwrap());
        fake.plan("nrt_execute#1=7;nrt_execute#2=1005");
        for _ in 0..2 {
            assert_eq!(bound.run().unwrap_err().fault(), Fault::Backpressure);
        }
        bound.run().unwrap();
        drop((bound, runtime));
        assert_clean(fake);
    });
}
