//! A token's way into its slot.

use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::{HeadPlace, PageLayout};
use crate::cpu::disjoint::Disjoint;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::product::Element;
use crate::cpu::quant::Symmetric;
use crate::spec::Slot;
use crate::spec::contract::PANEL_COLS;

/// One layer of pages, to be written by threads that each have tokens of their own.
pub struct LayerWriter<'a> {
    /// The layout.
    pub(super) layout: PageLayout,
    /// All pages.
    pub(super) data: SharedLayer<'a>,
    /// See [`Pages`](super::Pages).
    pub(super) not_finite: &'a [AtomicBool],
}

/// The elements of a layer.
pub(super) enum SharedLayer<'a> {
    Bf16(Disjoint<'a, u16>),
    Int8(Disjoint<'a, u8>),
}

/// Stores the keys and values of one token, rounded to bf16 or quantised.
pub struct StoreToken<'a> {
    writer: &'a LayerWriter<'a>,
    at: Slot,
    k: &'a [f32],
    v: &'a [f32],
}

impl<'a> StoreToken<'a> {
    /// Keys and values, `[n_kv_heads * head_dim]` each, for the slot `at`.
    ///
    /// # Safety
    /// While the value lives and runs, nobody else touches this slot of the layer.
    #[inline(always)]
    pub unsafe fn new(writer: &'a LayerWriter<'a>, at: Slot, k: &'a [f32], v: &'a [f32]) -> Self {
        Self { writer, at, k, v }
    }
}

impl<I: Isa> Kernel<I> for StoreToken<'_> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { writer, at, k, v } = self;
        let head_dim = writer.layout.head_dim;
        let mut finite = true;
        for (kv_head, (k, v)) in k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim)).enumerate() {
            let place =
                HeadSlot { layout: writer.layout, head: writer.layout.head(at.page, kv_head), slot: at.slot_idx };
            match &writer.data {
                // SAFETY: nobody else touches this slot, as `StoreToken::new` demands.
                SharedLayer::Bf16(data) => finite &= unsafe { place.round(isa, data, k, v) },
                // SAFETY: as above.
                SharedLayer::Int8(data) => unsafe { place.quantise(isa, data, k, v) },
            }
        }
        if !finite {
            // Relaxed: read in a later parallel region, which the pool orders after this one.
            writer.not_finite[at.page.idx()].store(true, Ordering::Relaxed);
        }
    }
}

/// A slot in a head's part of a page.
#[derive(Clone, Copy)]
struct HeadSlot {
    layout: PageLayout,
    /// Where that part lies.
    head: HeadPlace,
    slot: usize,
}

impl HeadSlot {
    /// Stores a key and a value, `[head_dim]`, as bf16; answers whether all of both is finite.
    ///
    /// # Safety
    /// Nobody else touches this slot meanwhile.
    #[inline(always)]
    unsafe fn round<I: Isa>(self, isa: I, data: &Disjoint<'_, u16>, k: &[f32], v: &[f32]) -> bool {
        let (mut bits, mut finite) = ([0; 16], true);
        for (i, (k, v)) in k.as_chunks::<16>().0.iter().zip(v.as_chunks::<16>().0).enumerate() {
            isa.store_bf16(isa.load(k), &mut bits);
            finite &= bits.iter().all(|b| is_finite(*b));
            // SAFETY: passed on to the caller.
            unsafe { self.store_key(data, 16 * i, &bits) };
            isa.store_bf16(isa.load(v), &mut bits);
            finite &= bits.iter().all(|b| is_finite(*b));
            // SAFETY: as above.
            unsafe { self.store_value(data, 16 * i, &bits) };
        }
        finite
    }

    /// Stores a key and a value, `[head_dim]`, as codes with a scale each.
    ///
    /// # Safety
    /// As [`HeadSlot::round`].
    #[inline(always)]
    unsafe fn quantise<I: Isa>(self, isa: I, data: &Disjoint<'_, u8>, k: &[f32], v: &[f32]) {
        let (keys, values) = (Symmetric::of(isa, k), Symmetric::of(isa, v));
        for (i, (k, v)) in k.as_chunks::<16>().0.iter().zip(v.as_chunks::<16>().0).enumerate() {
            // SAFETY: passed on to the caller.
            unsafe {
                self.store_key(data, 16 * i, &codes(isa, keys, k));
                self.store_value(data, 16 * i, &codes(isa, values, v));
            }
        }
        let places = [self.head.k_scale(self.slot), self.head.v_scale(self.slot)];
        for (place, group) in places.into_iter().zip([keys, values]) {
            // SAFETY: as above; the scales of a slot are its own.
            let scale = unsafe { data.slice(place, size_of::<f32>()) };
            scale.copy_from_slice(&group.scale.to_le_bytes());
        }
    }

    /// Stores sixteen elements of the key from `dim` on. It is a column: as many of them as rows are interleaved lie
    /// together.
    ///
    /// # Safety
    /// As [`HeadSlot::round`].
    #[inline(always)]
    unsafe fn store_key<E: Element>(self, data: &Disjoint<'_, E>, dim: usize, elements: &[E; 16]) {
        let first = self.head.key::<E>(&self.layout, self.slot, dim);
        for (i, elements) in elements.chunks_exact(E::INTERLEAVED).enumerate() {
            // SAFETY: elements of this slot, passed on to the caller.
            let place = unsafe { data.slice(first + i * E::INTERLEAVED * PANEL_COLS, E::INTERLEAVED) };
            place.copy_from_slice(elements);
        }
    }

    /// Stores sixteen elements of the value from `dim` on: columns, side by side but for the rows between.
    ///
    /// # Safety
    /// As [`HeadSlot::round`].
    #[inline(always)]
    unsafe fn store_value<E: Element>(self, data: &Disjoint<'_, E>, dim: usize, elements: &[E; 16]) {
        let first = self.head.value::<E>(self.slot, dim);
        for (col, element) in elements.iter().enumerate() {
            // SAFETY: an element of this slot, passed on to the caller.
            let place = unsafe { data.slice(first + col * E::INTERLEAVED, 1) };
            place[0] = *element;
        }
    }
}

/// The codes of sixteen elements of a group; zeros where its scale is NaN, so that codes are the same on every table.
#[inline(always)]
fn codes<I: Isa>(isa: I, group: Symmetric, x: &[f32; 16]) -> [u8; 16] {
    let mut codes = [0; 16];
    if !group.scale.is_nan() {
        group.codes(isa, isa.load(x), &mut codes);
    }
    codes
}

/// Whether a bf16 is neither infinite nor NaN.
#[inline(always)]
pub(super) fn is_finite(bits: u16) -> bool {
    bits & 0x7f80 != 0x7f80
}
