//! The programs that the contract of every backend's kernels needs (`tests/contract`), where a backend needs them
//! compiled.

use longhaul::neuron::neff::write::Program;

use crate::compiled::{Bucket, attention, matmul};
use crate::contract::matmul::{K, N};

/// Tokens of a page.
pub const PAGE_LEN: usize = 256;

/// Buckets of M; the longest case has more rows.
const M: [usize; 4] = [1, 4, 16, 64];

/// Buckets of sequences and new tokens of each; the longest case has more tokens.
const SEQUENCES: [(usize, usize); 4] = [(1, 1), (4, 1), (1, 8), (1, 48)];

/// What a case needs, by its module and name: `matmul::arrays_in_any_layout_are_taken`.
///
/// # Panics
/// If there is no such case.
pub fn of(case: &str) -> Vec<Program> {
    match case {
        "matmul::every_shape_is_close_to_the_reference" => {
            K.into_iter().flat_map(|k| N.map(|n| (n, k))).flat_map(|(n, k)| matrix(n, k)).collect()
        }
        "matmul::a_row_alone_has_the_bits_that_it_has_in_a_batch" => matrix(48, 200),
        "matmul::a_row_with_nan_leaves_the_others_alone" => matrix(17, 33),
        "matmul::arrays_in_any_layout_are_taken" => matrix(20, 40),
        "matmul::shapes_that_disagree_are_an_error" => matrix(3, 8),
        "attention::every_length_is_close_to_the_reference" => heads(1, 3, 64, &[0, 1, 100, 300]),
        "attention::every_head_is_close_to_the_reference" => {
            let geometries = [1, 3, 4, 8].into_iter().flat_map(|group| [64, 128].map(|head_dim| (group, head_dim)));
            geometries.flat_map(|(group, head_dim)| heads(2, group, head_dim, &[0, 40])).collect()
        }
        "pages::attention_over_copied_and_imported_pages_has_the_same_bits" => heads(2, 3, 64, &[0]),
        _ if case.starts_with("isolation::") => heads(2, 3, 64, &[0, 50]),
        _ if case.starts_with("pages::") => heads(3, 1, 64, &[0]),
        _ => panic!("there is no case {case}"),
    }
}

/// Programs of a matrix.
pub fn matrix(n: usize, k: usize) -> Vec<Program> {
    M.map(|m| matmul("matmul", [m, k, n], "bfloat16")).to_vec()
}

/// Programs of attention, over 32 pages.
pub fn heads(n_kv_heads: usize, group: usize, head_dim: usize, windows: &[usize]) -> Vec<Program> {
    let all = windows.iter().flat_map(|window| SEQUENCES.map(|shape| (*window, shape)));
    let bucket = |(window, (n_seqs, q_len))| Bucket {
        n_seqs,
        q_len,
        n_heads: n_kv_heads * group,
        n_kv_heads,
        head_dim,
        page_len: PAGE_LEN,
        max_pages: 5,
        unroll: 1,
        window,
        n_pages: 32,
    };
    all.map(|of| attention(bucket(of))).collect()
}
