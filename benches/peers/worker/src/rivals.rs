//! The peers written in Rust: candle, gemm and faer.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use faer::linalg::matmul::matmul as faer_matmul;
use faer::{Accum, MatMut, MatRef, Par};
use longhaul::cpu::Buffer;

use super::{Prepared, Result, pattern};
use crate::protocol::{MatmulCase, n_copies};

/// A matmul by `peer`.
pub fn matmul(peer: &str, n_threads: usize, dtype: &str, case: &MatmulCase) -> Result<Prepared> {
    match (peer, dtype) {
        ("candle", "bf16") => candle(DType::BF16, case),
        ("candle", "f32") => candle(DType::F32, case),
        ("gemm", "f32") => Ok(slices(case, move |case, x, w, y| gemm(n_threads, case, x, w, y))),
        ("faer", "f32") => Ok(slices(case, move |case, x, w, y| faer(n_threads, case, x, w, y))),
        _ => Err(format!("{peer} has no matmul with weights of {dtype}").into()),
    }
}

fn activations(case: &MatmulCase) -> Buffer<f32> {
    pattern::buffer(case.m * case.k, |i| pattern::activation(i / case.k, i % case.k))
}

fn weights(case: &MatmulCase) -> Buffer<f32> {
    pattern::buffer(case.n * case.k, |i| pattern::weight(i / case.k, i % case.k))
}

/// candle takes its threads from `RAYON_NUM_THREADS`, which `scripts/compare` sets.
fn candle(dtype: DType, case: &MatmulCase) -> Result<Prepared> {
    let tensor = |values: Buffer<f32>, shape| Tensor::from_vec(values.to_vec(), shape, &Device::Cpu)?.to_dtype(dtype);
    let x = tensor(activations(case), (case.m, case.k))?;
    let copies = n_copies(case.rotated_bytes, (case.n * case.k * dtype.size_in_bytes()) as u64);
    let w = tensor(weights(case), (case.n, case.k))?;
    let w: Vec<Tensor> = (0..copies).map(|_| w.copy()).collect::<candle_core::Result<_>>()?;
    let result = x.matmul(&w[0].t()?)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let mut turn = 0;
    let run = move || {
        turn = (turn + 1) % w.len();
        let began = Instant::now();
        std::hint::black_box(x.matmul(&w[turn].t()?)?);
        Ok(began.elapsed())
    };
    Ok(Prepared { run: Box::new(run), check: pattern::ends(&result) })
}

/// A peer that multiplies slices of f32: `y[m, n] = x[m, k] w[n, k]^T`.
fn slices(case: &MatmulCase, multiply: impl Fn(&[usize; 3], &[f32], &[f32], &mut [f32]) + 'static) -> Prepared {
    let shape = [case.m, case.n, case.k];
    let x = activations(case);
    let copies = n_copies(case.rotated_bytes, (case.n * case.k * 4) as u64);
    let w: Vec<Buffer<f32>> = (0..copies).map(|_| weights(case)).collect();
    let mut y = Buffer::zeroed(case.m * case.n);
    multiply(&shape, &x, &w[0], &mut y);
    let check = pattern::ends(&y);
    let mut turn = 0;
    let run = move || -> Result<Duration> {
        turn = (turn + 1) % w.len();
        let began = Instant::now();
        multiply(&shape, &x, &w[turn], &mut y);
        Ok(began.elapsed())
    };
    Prepared { run: Box::new(run), check }
}

fn gemm(n_threads: usize, &[m, n, k]: &[usize; 3], x: &[f32], w: &[f32], y: &mut [f32]) {
    assert!(x.len() == m * k && w.len() == n * k && y.len() == m * n);
    let parallelism = if n_threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(n_threads) };
    let (row, column) = (k as isize, 1);
    // SAFETY: the lengths were checked above, and the strides are those of row-major matrices of these shapes; w is
    // read transposed.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            n as isize,
            false,
            x.as_ptr(),
            column,
            row,
            w.as_ptr(),
            row,
            column,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

fn faer(n_threads: usize, &[m, n, k]: &[usize; 3], x: &[f32], w: &[f32], y: &mut [f32]) {
    let par = if n_threads == 1 { Par::Seq } else { Par::rayon(n_threads) };
    let (x, w) = (MatRef::from_row_major_slice(x, m, k), MatRef::from_row_major_slice(w, n, k));
    faer_matmul(MatMut::from_row_major_slice_mut(y, m, n), Accum::Replace, x, w.transpose(), 1.0, par);
}
