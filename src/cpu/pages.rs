//! KV pages in the layout that the attention kernel wants: every page of a head is a product's right operand as it lies.
//!
//! For `q k^T` the columns are keys and the depth is `head_dim`, padded to 32; for `p v` the columns are the elements of a head and the depth is
//! keys. Both are bf16 panels (see [`super::panel`]). A layer is one allocation, `[page][kv_head][k panels | v panels]`, so that a head's part of a
//! page is one run of memory; the operating system gives it memory when it is first written.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::buffer::Buffer;
use super::disjoint::Disjoint;
use super::isa::{Isa, Kernel};
use super::panel::PanelElement;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::spec::contract::{PAGE_LEN, PANEL_COLS, TILE_DEPTH};
use crate::spec::{KvSpec, PageId, Slot};

/// Where things lie in a layer of pages.
#[derive(Clone, Copy)]
pub struct PageLayout {
    /// Heads of a page.
    pub n_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// `head_dim`, padded: the depth of the key panels.
    pub k_depth: usize,
}

impl PageLayout {
    fn new(spec: &KvSpec) -> Result<Self> {
        let (n_kv_heads, head_dim) = (spec.n_kv_heads, spec.head_dim);
        if spec.dtype != Dtype::Bf16 {
            return Err(Error::Unavailable {
                what: format!("a KV cache of {}", spec.dtype),
                why: "the CPU backend keeps keys and values in bf16".into(),
            });
        }
        if head_dim == 0 || !head_dim.is_multiple_of(16) || n_kv_heads == 0 || spec.n_layers == 0 {
            return Err(Error::argument(format!(
                "a KV cache of {} layers, {n_kv_heads} heads, head_dim {head_dim}: the CPU kernels want at least one of each and a head_dim \
                 that is a multiple of 16",
                spec.n_layers
            )));
        }
        Ok(Self { n_kv_heads, head_dim, k_depth: head_dim.next_multiple_of(TILE_DEPTH) })
    }

    /// Elements of the key panels of one head of a page.
    pub fn k_len(&self) -> usize {
        PAGE_LEN * self.k_depth
    }

    /// Elements of one head of a page.
    pub fn head_len(&self) -> usize {
        self.k_len() + PAGE_LEN * self.head_dim
    }

    /// Elements of a page in one layer.
    pub fn page_len(&self) -> usize {
        self.n_kv_heads * self.head_len()
    }

    /// First element of a head's part of a page.
    pub fn head_start(&self, page: PageId, kv_head: usize) -> usize {
        page.idx() * self.page_len() + kv_head * self.head_len()
    }

    /// Where element `dim` of the key in `slot` lies in a head's part of a page.
    fn k_index(&self, slot: usize, dim: usize) -> usize {
        <u16 as PanelElement>::index(slot, dim, self.k_depth)
    }

    /// Where element `dim` of the value in `slot` lies in a head's part of a page.
    fn v_index(&self, slot: usize, dim: usize) -> usize {
        self.k_len() + <u16 as PanelElement>::index(dim, slot, PAGE_LEN)
    }
}

/// The pages of all layers.
pub struct Pages {
    spec: KvSpec,
    /// The layout of a layer.
    pub layout: PageLayout,
    n_pages: usize,
    layers: Vec<Buffer<u16>>,
    /// `[n_pages]` whether a page may hold a number that is not finite, in any slot, visible or stale. See `attention::block`.
    not_finite: Vec<AtomicBool>,
}

/// One layer of pages, to be read.
#[derive(Clone, Copy)]
pub struct LayerView<'a> {
    /// The layout.
    pub layout: PageLayout,
    data: &'a [u16],
    not_finite: &'a [AtomicBool],
}

impl<'a> LayerView<'a> {
    /// A head's part of a page: key panels, then value panels.
    pub fn head(&self, page: PageId, kv_head: usize) -> (&'a [u16], &'a [u16]) {
        let head = &self.data[self.layout.head_start(page, kv_head)..][..self.layout.head_len()];
        head.split_at(self.layout.k_len())
    }

    /// Whether a slot of the page may hold a number that is not finite.
    pub fn maybe_not_finite(&self, page: PageId) -> bool {
        self.not_finite[page.idx()].load(Ordering::Relaxed)
    }
}

/// One layer of pages, to be written by threads that each have tokens of their own.
pub struct LayerWriter<'a> {
    layout: PageLayout,
    data: Disjoint<'a, u16>,
    not_finite: &'a [AtomicBool],
}

/// Stores the keys and values of one token, rounded to bf16.
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
        let layout = self.writer.layout;
        let (mut bits, mut finite) = ([0u16; 16], true);
        let element = |index: usize, len: usize| {
            // SAFETY: elements of this slot alone, which nobody else touches, as `StoreToken::new` demands.
            unsafe { self.writer.data.slice(index, len) }
        };
        let heads = self.k.chunks_exact(layout.head_dim).zip(self.v.chunks_exact(layout.head_dim));
        for (kv_head, (k, v)) in heads.enumerate() {
            let start = layout.head_start(self.at.page, kv_head);
            for (i, (k, v)) in k.as_chunks::<16>().0.iter().zip(v.as_chunks::<16>().0).enumerate() {
                isa.store_bf16(isa.load(k), &mut bits);
                finite &= bits.iter().all(|b| is_finite(*b));
                // A key is a column: its pairs are a row of the panel apart.
                let first = start + layout.k_index(self.at.slot_idx, 16 * i);
                for (pair, bits) in bits.as_chunks::<2>().0.iter().enumerate() {
                    element(first + 2 * PANEL_COLS * pair, 2).copy_from_slice(bits);
                }
                isa.store_bf16(isa.load(v), &mut bits);
                finite &= bits.iter().all(|b| is_finite(*b));
                // A value's elements are columns, next to each other.
                let first = start + layout.v_index(self.at.slot_idx, 16 * i);
                for (col, bits) in bits.iter().enumerate() {
                    element(first + 2 * col, 1)[0] = *bits;
                }
            }
        }
        if !finite {
            // Relaxed: read in a later parallel region, which the pool orders after this one.
            self.writer.not_finite[self.at.page.idx()].store(true, Ordering::Relaxed);
        }
    }
}

/// Whether a bf16 is neither infinite nor NaN.
#[inline(always)]
fn is_finite(bits: u16) -> bool {
    bits & 0x7f80 != 0x7f80
}

impl Pages {
    /// Allocates `n_pages`, zeroed; [`Error::Unavailable`] where the operating system has not the addresses.
    pub fn new(spec: &KvSpec, n_pages: usize) -> Result<Self> {
        let layout = PageLayout::new(spec)?;
        let len = n_pages.checked_mul(layout.page_len());
        let layer = |_| Buffer::try_zeroed(len.ok_or(io::ErrorKind::OutOfMemory)?);
        let layers = (0..spec.n_layers).map(layer).collect::<io::Result<_>>().map_err(|e| Error::Unavailable {
            what: format!("a KV cache of {n_pages} pages of {} layers", spec.n_layers),
            why: e.to_string(),
        })?;
        Ok(Self {
            spec: *spec,
            layout,
            n_pages,
            layers,
            not_finite: (0..n_pages).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// Layers, heads and type.
    pub fn spec(&self) -> &KvSpec {
        &self.spec
    }

    /// Number of pages.
    pub fn n_pages(&self) -> usize {
        self.n_pages
    }

    /// A layer to read.
    pub fn layer(&self, layer: usize) -> LayerView<'_> {
        LayerView { layout: self.layout, data: &self.layers[layer], not_finite: &self.not_finite }
    }

    /// A layer to write.
    pub fn writer(&mut self, layer: usize) -> LayerWriter<'_> {
        LayerWriter { layout: self.layout, data: Disjoint::new(&mut self.layers[layer]), not_finite: &self.not_finite }
    }

    /// Copies a page. Panels interleave slots, so all of it goes; the caller counts on the first slots alone.
    pub fn copy(&mut self, from: PageId, to: PageId) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        let len = self.layout.page_len();
        for layer in &mut self.layers {
            layer.copy_within(from.idx() * len..(from.idx() + 1) * len, to.idx() * len);
        }
        *self.not_finite[to.idx()].get_mut() = *self.not_finite[from.idx()].get_mut();
        Ok(())
    }

    /// Bytes of a page in the canonical layout.
    pub fn page_bytes(&self) -> usize {
        PAGE_LEN * self.spec.bytes_per_token()
    }

    /// Writes a page as `[layer][k|v][slot][kv_head][head_dim]`, little-endian.
    pub fn export(&self, page: PageId, out: &mut [u8]) -> Result<()> {
        self.check(page)?;
        self.check_bytes(out.len())?;
        let (elements, _) = out.as_chunks_mut::<2>();
        self.for_each_element(page, |layer, place, canonical| {
            elements[canonical] = self.layers[layer][place].to_le_bytes();
        });
        Ok(())
    }

    /// Reads a page back, bit for bit.
    pub fn import(&mut self, page: PageId, bytes: &[u8]) -> Result<()> {
        self.check(page)?;
        self.check_bytes(bytes.len())?;
        let (elements, _) = bytes.as_chunks::<2>();
        let mut layers = std::mem::take(&mut self.layers);
        self.for_each_element(page, |layer, place, canonical| {
            layers[layer][place] = u16::from_le_bytes(elements[canonical]);
        });
        self.layers = layers;
        *self.not_finite[page.idx()].get_mut() = elements.iter().any(|b| !is_finite(u16::from_le_bytes(*b)));
        Ok(())
    }

    /// Pairs each element's place in its layer with its place in the canonical layout.
    fn for_each_element(&self, page: PageId, mut f: impl FnMut(usize, usize, usize)) {
        let layout = self.layout;
        let mut canonical = 0;
        for layer in 0..self.spec.n_layers {
            for is_value in [false, true] {
                for slot in 0..PAGE_LEN {
                    for kv_head in 0..layout.n_kv_heads {
                        let start = layout.head_start(page, kv_head);
                        for dim in 0..layout.head_dim {
                            let index = if is_value { layout.v_index(slot, dim) } else { layout.k_index(slot, dim) };
                            f(layer, start + index, canonical);
                            canonical += 1;
                        }
                    }
                }
            }
        }
    }

    fn check(&self, page: PageId) -> Result<()> {
        if page.idx() < self.n_pages {
            return Ok(());
        }
        Err(Error::Page { page, reason: format!("the pool has {} pages", self.n_pages) })
    }

    fn check_bytes(&self, len: usize) -> Result<()> {
        if len == self.page_bytes() {
            return Ok(());
        }
        Err(Error::argument(format!("an exported page has {} bytes, not {len}", self.page_bytes())))
    }
}
