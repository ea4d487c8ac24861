//! What goes wrong, and how it is told.

use std::time::{Duration, Instant};

use longhaul::Error;
use longhaul::backend::LoadOptions;
use longhaul::dtype::Dtype;
use longhaul::error::Fault;
use longhaul::spec::{AttentionArgs, KvDtype, KvSpec, PageId, Preset, Slot, StepBatch, Synthetic, WeightDtype};
use ndarray::{Array2, Array3};

use crate::common::backends;
use crate::contract::matmul::{multiply, pack, weights};
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract::{assert_same_bits, noise};
use crate::contract_programs::{heads, matrix};
use crate::stand_in::on_the_stand_in;

const SHAPE: Shape = Shape { n_kv_heads: 2, group: 2, head_dim: 64, n_tokens: 3, kv_len: 40, kv: KvDtype::Bf16 };

/// A device that is lost while a program runs: every call says so, at once and alike, and the CPU goes on.
#[test]
fn a_lost_device_is_told_and_leaves_the_cpu_alone() {
    let programs = [matrix(20, 40), heads(2, 2, 64, &[0])].concat();
    let name = "failures::a_lost_device_is_told_and_leaves_the_cpu_alone";
    crate::isolated::isolated(name, "2_34", &[], |fake| {
        let folder = crate::compiled::folder(&programs);
        let backend = crate::stand_in::backend(folder.path());
        let (w, x) = (weights(20, 40, WeightDtype::Bf16), Array2::from_shape_simple_fn((5, 40), noise(1)));
        let cpu = backends().remove(0);
        let before = multiply(&*pack(&*cpu, &w, WeightDtype::Bf16), x.view());

        let matrix = pack(&*backend, &w, WeightDtype::Bf16);
        let sequence = Sequence::new(&*backend, 1, SHAPE, 0..);
        let mut kv = SHAPE.pages(&*backend, 4);
        sequence.store(&mut *kv);
        multiply(&*matrix, x.view());
        fake.plan("nrt_execute#1=hang:100");
        let mut batch = StepBatch::new();
        batch.push(&[0; 3], sequence.start(), &sequence.pages);
        let (mut out, scale) = (Array3::zeros(sequence.q.dim()), SHAPE.scale());
        let args = AttentionArgs { layer: 0, q: sequence.q.view(), ragged: batch.ragged(), scale, window: None };
        let lost = |result: longhaul::Result<()>| match result {
            Err(Error::Device { fault: Fault::Process, reason }) => reason,
            other => panic!("not a lost device: {other:?}"),
        };
        let cause = lost(kv.attention(&args, out.view_mut()));
        let begun = Instant::now();
        let mut y = Array2::zeros((5, 20));
        let mut bytes = vec![0; kv.page_bytes()];
        let later = [
            lost(kv.attention(&args, out.view_mut())),
            lost(matrix.matmul(x.view(), y.view_mut())),
            lost(kv.export_page(PageId(0), &mut bytes)),
            lost(kv.import_page(PageId(0), &bytes)),
            lost(kv.copy_page(PageId(0), PageId(1), 1)),
            lost(backend.kv(kv.spec(), 2).map(drop)),
        ];
        assert!(later.iter().all(|reason| reason.contains(&cause)), "{cause}: {later:#?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "something hung");

        let after = multiply(&*pack(&*cpu, &w, WeightDtype::Bf16), x.view());
        assert_same_bits(after.view(), before.view(), "the CPU");
        drop((matrix, kv, backend));
        assert_eq!((fake.counters().n_calls_after_loss, fake.violations()), (0, vec![]));
    });
}

/// A launch that fails without losing the device: the tokens that it was to append are not lost, and the next call is
/// right.
#[test]
fn a_call_after_a_failed_launch_is_right() {
    let programs = heads(2, 2, 64, &[0]);
    on_the_stand_in("failures::a_call_after_a_failed_launch_is_right", "2_35", &programs, |backend, fake| {
        let sequence = Sequence::new(&*backend, 1, SHAPE, 0..);
        let fresh = |fails: bool| {
            let mut kv = SHAPE.pages(&*backend, 4);
            sequence.store(&mut *kv);
            let mut batch = StepBatch::new();
            batch.push(&[0; 3], sequence.start(), &sequence.pages);
            let (mut out, scale) = (Array3::zeros(sequence.q.dim()), SHAPE.scale());
            let args = AttentionArgs { layer: 0, q: sequence.q.view(), ragged: batch.ragged(), scale, window: None };
            if fails {
                fake.plan("nrt_execute#1=4");
                let error = kv.attention(&args, out.view_mut()).unwrap_err();
                assert!(matches!(&error, Error::Device { fault, .. } if !fault.is_fatal()), "{error:?}");
            }
            attend(&mut *kv, &[&sequence], None).remove(0)
        };
        assert_same_bits(fresh(true).view(), fresh(false).view(), "after a failure");
    });
}

/// What there is no program for is told with the command that builds it.
#[test]
fn a_missing_program_is_told_with_the_command_that_builds_it() {
    let programs = [matrix(20, 40), heads(2, 2, 64, &[0])].concat();
    on_the_stand_in(
        "failures::a_missing_program_is_told_with_the_command_that_builds_it",
        "2_34",
        &programs,
        |backend, _| {
            let missing = |result: longhaul::Result<()>, parts: &[&str]| match result {
                Err(Error::Unavailable { why, .. }) => {
                    assert!(why.contains("python -m kernels.compile --program"), "{why}");
                    assert!(parts.iter().all(|part| why.contains(part)), "{why}");
                }
                other => panic!("not a missing program: {other:?}"),
            };
            let bytes = vec![0; 2 * 21 * 40];
            let weight =
                longhaul::spec::WeightView { name: "w", n: 21, k: 40, dtype: Dtype::Bf16, bytes: bytes.into() };
            missing(backend.pack(&weight, WeightDtype::Bf16).map(drop), &["matmul", "n=21", "k=40", "m=1"]);
            let spec = KvSpec { n_layers: 1, n_kv_heads: 2, head_dim: 64, dtype: KvDtype::Bf16 };
            missing(backend.kv(&spec, 32).map(drop), &["attention", "n_pages=33", "there is"]);
            missing(backend.kv(&KvSpec { n_kv_heads: 7, ..spec }, 4).map(drop), &["n_kv_heads=7"]);
            let mut kv = SHAPE.pages(&*backend, 4);
            for (group, window, part) in [(3, None, "n_heads=6"), (2, Some(9), "window=9")] {
                let sequence = Sequence::new(&*backend, 1, Shape { group, ..SHAPE }, 0..);
                sequence.store(&mut *kv);
                let mut batch = StepBatch::new();
                batch.push(&[0; 3], sequence.start(), &sequence.pages);
                let (mut out, scale) = (Array3::zeros(sequence.q.dim()), SHAPE.scale());
                let args = AttentionArgs { layer: 0, q: sequence.q.view(), ragged: batch.ragged(), scale, window };
                missing(kv.attention(&args, out.view_mut()), &[part]);
            }
        },
    );
}

/// What the kernels do not take is refused before anything is called.
#[test]
fn what_the_kernels_do_not_take_is_refused() {
    let programs = [matrix(20, 40), heads(2, 2, 64, &[0])].concat();
    on_the_stand_in("failures::what_the_kernels_do_not_take_is_refused", "2_34", &programs, |backend, fake| {
        let config = Synthetic::new(Preset::ALL[0], 1).config().clone();
        let options =
            LoadOptions { weights: None, kv: KvDtype::Bf16, n_pages: 1, max_step_tokens: 1, max_logit_rows: 1 };
        let source = Synthetic::new(Preset::ALL[0], 1);
        let error = backend.load(&config, &source, options).map(drop).unwrap_err();
        assert!(error.to_string().contains("one program"), "{error}");
        let spec = KvSpec { n_layers: 1, n_kv_heads: 2, head_dim: 96, dtype: KvDtype::Bf16 };
        assert!(matches!(backend.kv(&spec, 1), Err(Error::Unavailable { .. })));

        let mut kv = SHAPE.pages(&*backend, 4);
        let mut sequence = Sequence::new(&*backend, 1, SHAPE, 0..);
        let attention = |kv: &mut dyn longhaul::backend::KvPages, sequence: &Sequence| {
            let mut batch = StepBatch::new();
            batch.push(&[0; 3], sequence.start(), &sequence.pages);
            let (mut out, scale) = (Array3::zeros(sequence.q.dim()), SHAPE.scale());
            let args = AttentionArgs { layer: 0, q: sequence.q.view(), ragged: batch.ragged(), scale, window: None };
            kv.attention(&args, out.view_mut())
        };
        fake.plan("");
        sequence.store(&mut *kv);
        for position in [38, 39] {
            let x = Array3::from_elem((1, 2, 64), f32::NAN);
            kv.append(0, x.view(), x.view(), &[Slot { page: PageId(0), slot_idx: position }]).unwrap();
            let error = attention(&mut *kv, &sequence).unwrap_err();
            assert!(matches!(error, Error::Page { page: PageId(0), .. }), "{error:?}");
            sequence.store(&mut *kv);
        }
        sequence.q[[1, 0, 0]] = f32::MAX; // not finite in bf16
        assert!(matches!(attention(&mut *kv, &sequence), Err(Error::Argument(_))));
        assert!(fake.calls().iter().all(|(name, _)| name != "nrt_execute"), "{:?}", fake.calls());
    });
}
