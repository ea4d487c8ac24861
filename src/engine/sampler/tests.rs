use super::*;

/// As the seam says it.
fn weigh(logits: &[f32], max: f32, temperature: f32, out: &mut [f32]) -> f64 {
    out.iter_mut().zip(logits).for_each(|(weight, logit)| *weight = ((logit - max) / temperature).exp());
    out.iter().copied().map(f64::from).sum()
}

/// How often each token is drawn over `n` positions.
fn histogram(logits: &[f32], sampling: &Sampling, n: usize) -> Vec<usize> {
    let context = vec![0; n];
    let mut counts = vec![0; logits.len()];
    for position in 0..n {
        let row = Row { logits, context: &context[..position], banned: &[], weigh: &weigh };
        counts[Sampler::default().draw(row, sampling).unwrap().0 as usize] += 1;
    }
    counts
}

fn warm() -> Sampling {
    Sampling { temperature: 1.0, seed: 7, ..Sampling::default() }
}

const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

#[test]
fn greedy_takes_the_first_of_equals_and_tells_its_logprob() {
    let row = Row { logits: &[1.0, 3.0, 3.0, f32::NEG_INFINITY], context: &[0], banned: &[], weigh: &weigh };
    let (token, logprob) = Sampler::default().draw(row, &Sampling::default()).unwrap();
    assert_eq!(token, 1);
    assert!((logprob - -(2.0 + (-2.0f32).exp()).ln()).abs() < 1e-6);
    let banned = Row { banned: &[1, 2], ..row };
    assert_eq!(Sampler::default().draw(banned, &Sampling::default()).unwrap().0, 0);
}

#[test]
fn draws_follow_the_distribution() {
    let n = 4_000;
    let total: f32 = LOGITS.iter().map(|l| l.exp()).sum();
    for (count, logit) in histogram(&LOGITS, &warm(), n).into_iter().zip(LOGITS) {
        let expected = logit.exp() / total * n as f32;
        assert!((count as f32 - expected).abs() < 5.0 * expected.sqrt(), "{count} for {expected}");
    }
}

#[test]
fn truncation_keeps_what_it_says() {
    let kept =
        |sampling: Sampling| -> Vec<bool> { histogram(&LOGITS, &sampling, 1_000).into_iter().map(|n| n > 0).collect() };
    // Probabilities 0.087, 0.644, 0.237, 0.032.
    assert_eq!(kept(Sampling { top_k: Some(2), ..warm() }), [false, true, true, false]);
    assert_eq!(kept(Sampling { top_p: Some(0.6), ..warm() }), [false, true, false, false]);
    assert_eq!(kept(Sampling { top_p: Some(0.9), ..warm() }), [true, true, true, false]);
    assert_eq!(kept(Sampling { min_p: Some(0.3), ..warm() }), [false, true, true, false]);
    assert_eq!(kept(Sampling { top_p: Some(1.0), min_p: Some(0.0), ..warm() }), [true; 4]);
}

/// Whatever a look at chunks leaves out before anything is sorted.
#[test]
fn truncation_of_many_tokens_is_that_of_the_definition() {
    // Weights that occur several times, and some that stand alone.
    let logits: Vec<f32> = (0..1_003).map(|i| ((i * 7_919) % 257) as f32 / 16.0).collect();
    for top_k in [None, Some(1), Some(5), Some(62), Some(63), Some(64), Some(500), Some(2_000)] {
        for top_p in [None, Some(0.1), Some(0.9), Some(1.0)] {
            for min_p in [None, Some(0.0), Some(0.5), Some(1.0)] {
                let sampling = Sampling { top_k, top_p, min_p, ..warm() };
                let mut sampler = Sampler { weights: vec![0.0; logits.len()], ..Sampler::default() };
                weigh(&logits, 16.0, 1.0, &mut sampler.weights);
                let mut wanted: Vec<(f32, TokenId)> = sampler.weights.iter().copied().zip(0..).collect();
                wanted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                wanted.truncate(top_k.unwrap_or(usize::MAX));
                let (total, mut mass) = (joint(&wanted), 0.0);
                let missing = |&(weight, _): &(f32, TokenId)| {
                    let enough = mass >= f64::from(top_p.unwrap_or(2.0)) * total;
                    mass += f64::from(weight);
                    !enough
                };
                wanted = wanted.into_iter().take_while(missing).filter(|t| t.0 >= min_p.unwrap_or(0.0)).collect();
                sampler.choose_candidates(&sampling);
                sampler.truncate(&sampling);
                let tokens = |of: &[(f32, TokenId)]| of.iter().map(|t| t.1).collect::<std::collections::BTreeSet<_>>();
                assert_eq!(tokens(&sampler.candidates), tokens(&wanted), "{sampling:?}");
            }
        }
    }
}

#[test]
fn draws_of_all_follow_the_weights_across_blocks() {
    let mut weights = vec![0.0; 3 * BLOCK + 5];
    for (token, weight) in [(3, 1.0), (BLOCK + 7, 2.0), (3 * BLOCK + 4, 1.0)] {
        weights[token] = weight;
    }
    let picks = [0.0, 0.249, 0.25, 0.749, 0.75, 1.0 - f64::EPSILON].map(|at| pick_of_all(&weights, at) as usize);
    assert_eq!(picks, [3, 3, BLOCK + 7, BLOCK + 7, 3 * BLOCK + 4, 3 * BLOCK + 4]);
}

#[test]
fn a_draw_depends_on_seed_and_position_alone() {
    let draw = |seed, position| {
        let row = Row { logits: &[0.0; 64], context: &vec![3; position], banned: &[], weigh: &weigh };
        Sampler::default().draw(row, &Sampling { seed, ..warm() }).unwrap().0
    };
    let sequence = |seed| (0..40).map(|p| draw(seed, p)).collect::<Vec<_>>();
    assert_eq!(sequence(1), sequence(1));
    assert_ne!(sequence(1), sequence(2));
}

#[test]
fn repetition_is_penalised_once_a_token() {
    let row = Row { logits: &[1.0, 1.6, -1.0], context: &[1, 1, 1], banned: &[], weigh: &weigh };
    let sampling = Sampling { repetition_penalty: Some(1.5), ..Sampling::default() };
    assert_eq!(Sampler::default().draw(row, &sampling).unwrap().0, 1, "1.6 / 1.5 > 1");
    let sampling = Sampling { repetition_penalty: Some(1.7), ..Sampling::default() };
    assert_eq!(Sampler::default().draw(row, &sampling).unwrap().0, 0);
}

#[test]
fn options_that_leave_no_token_are_named() {
    let why = |row: Row<'_>, repetition_penalty| {
        let sampling = Sampling { repetition_penalty, ..warm() };
        match Sampler::default().draw(row, &sampling) {
            Err(Error::Argument(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let row = Row { logits: &[-2.0, 1.0, f32::NEG_INFINITY], context: &[0, 1], banned: &[], weigh: &weigh };
    // The first makes an infinity of 1, the second of -2 where nothing else is left.
    for (row, penalty) in [(row, f32::from_bits(1)), (Row { banned: &[1], ..row }, f32::MAX)] {
        let why = why(row, Some(penalty));
        assert!(why.contains("repetition_penalty") && why.contains("position 2"), "{why}");
    }
    let banned = Row { banned: &[0, 1], ..row };
    for penalty in [None, Some(1.1)] {
        let why = why(banned, penalty);
        assert!(why.contains("min_tokens") && why.contains("position 2"), "{why}");
    }
}

#[test]
fn broken_logits_are_an_error() {
    for broken in [f32::NAN, f32::INFINITY] {
        for sampling in [Sampling::default(), warm()] {
            let row = Row { logits: &[0.0, broken, 1.0], context: &[0; 5], banned: &[], weigh: &weigh };
            let error = Sampler::default().draw(row, &sampling).unwrap_err();
            assert!(matches!(&error, Error::Step(why) if why.contains("position 5")), "{error}");
        }
    }
}
