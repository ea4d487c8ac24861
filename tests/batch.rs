//! What a batch may not say.

use longhaul::Error;
use longhaul::spec::{PageId, StepBatch};

const PAGE_LEN: usize = 64;

fn checked(sequences: &[(usize, usize, &[u32])]) -> Result<(), Error> {
    let mut batch = StepBatch::new();
    for &(start, n_tokens, pages) in sequences {
        let pages: Vec<PageId> = pages.iter().copied().map(PageId).collect();
        batch.push(&vec![1; n_tokens], start, &pages);
    }
    batch.validate(10, 8, PAGE_LEN)
}

#[test]
fn pages_that_are_only_read_may_be_shared() {
    checked(&[(64, 3, &[5, 1]), (64, 1, &[5, 2]), (130, 1, &[5, 7, 3])]).unwrap();
}

#[test]
fn a_page_written_twice_is_refused() {
    for twice in
        [&[(64, 1, &[5, 1][..]), (64, 1, &[4, 1])][..], &[(0, 70, &[2, 2])], &[(60, 10, &[3, 4]), (10, 1, &[3])]]
    {
        let error = checked(twice).unwrap_err();
        assert!(matches!(&error, Error::Page { .. }), "{error}");
        assert!(error.to_string().contains("two places"), "{error}");
    }
}

#[test]
fn short_tables_missing_pages_and_unknown_tokens_are_named() {
    assert!(checked(&[(64, 1, &[5])]).unwrap_err().to_string().contains("needs 2"));
    assert!(checked(&[(0, 1, &[8])]).unwrap_err().to_string().contains("pool has 8 pages"));
    let mut batch = StepBatch::new();
    batch.push(&[10], 0, &[PageId(0)]);
    assert!(matches!(batch.validate(10, 8, PAGE_LEN), Err(Error::Vocabulary { token: 10, vocab: 10 })));
}

#[test]
#[should_panic(expected = "position 4294967296 of a batch")]
fn a_position_that_it_cannot_name_is_not_taken_for_another() {
    StepBatch::new().push(&[1], 1 << 32, &[PageId(0)]);
}
