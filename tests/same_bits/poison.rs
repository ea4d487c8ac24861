//! A sequence that computes NaN does so alone.

use longhaul::spec::{KvDtype, Logits, PageId, StepBatch};

use crate::common::backends;
use crate::tiny::tiny;
use crate::{load, plain, poison, prompt, same_bits};

#[test]
fn a_sequence_with_nan_in_its_pages_changes_no_bit_of_its_neighbours() {
    for (config, kv) in tiny().into_iter().zip(KvDtype::ALL.into_iter().cycle()) {
        let (tokens, poisoned) = (prompt(&config, 30, 1), prompt(&config, 5, 2));
        for backend in backends() {
            let mut model = load(&*backend, &config, None, kv);
            let expected = plain(&mut *model, &tokens);
            (0..4).for_each(|page| poison(&mut *model, PageId(page)));

            // The neighbour goes on from 20 tokens of NaN; the two sequences stand before and behind it.
            let mut batch = StepBatch::new();
            batch.push(&tokens, 0, &[PageId(1)]);
            batch.push(&poisoned, 20, &[PageId(2)]);
            batch.push(&tokens[..7], 0, &[PageId(3)]);
            batch.logit_rows = (0..batch.n_tokens() as u32).collect();
            let mut logits = Logits::new();
            model.step(&batch, &mut logits).unwrap();
            let name = &backend.caps().name;
            for (row, expected) in
                expected.iter().chain([&vec![f32::NAN; config.vocab]; 5]).chain(&expected[..7]).enumerate()
            {
                let found = logits.row(row);
                let is_nan = found.iter().all(|x| x.is_nan()) && expected.iter().all(|x| x.is_nan());
                assert!(is_nan || same_bits(found, expected), "{name}, {:?}, row {row}", config.architecture);
            }

            // A page that held NaN is good for the next.
            batch.clear();
            batch.push(&tokens, 0, &[PageId(2)]);
            batch.logit_rows = vec![29];
            model.step(&batch, &mut logits).unwrap();
            assert!(same_bits(logits.row(0), &expected[29]), "{name}, {:?}", config.architecture);
        }
    }
}
