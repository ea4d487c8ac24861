//! A model step on every kernel table of this machine against the f64 reference.

mod common;

use common::{assert_close, backends, max_abs, tiny};
use longhaul::backend::LoadOptions;
use longhaul::reference;
use longhaul::spec::synthetic::Synthetic;
use longhaul::spec::{Logits, PageId, StepBatch};

#[test]
fn a_prompt_matches_the_reference() {
    for config in tiny() {
        let source = Synthetic::from_config(config.clone(), 7);
        let tokens: Vec<u32> = (0..60).map(|i| (i * 37 + 11) % config.vocab as u32).collect();
        let expected = reference::step(&config, &source, &tokens, Some(longhaul::dtype::Dtype::Bf16)).unwrap();
        for backend in backends() {
            let options = LoadOptions { weights: None, n_pages: 4, max_step_tokens: 64, max_logit_rows: 64 };
            let mut model = backend.load(&config, &source, options).unwrap();
            let mut batch = StepBatch::new();
            batch.push(&tokens, 0, &[PageId(2)]);
            batch.logit_rows = (0..60).collect();
            let mut logits = Logits::new();
            model.step(&batch, &mut logits).unwrap();
            let worst = (0..60).map(|r| max_abs(logits.row(r), &expected[r])).fold(0.0, f64::max);
            println!("{:?} {}: worst {worst:e}", config.architecture, backend.caps().name);
            assert!(worst < 0.05);
        }
    }
}
