//! KV pages in the layout that the attention kernel wants: every page of a head is a product's right operand as it lies (codes
//! where the table multiplies them).
//!
//! For `q k^T` the columns are keys and the depth is `head_dim`, padded to 32; for `p v` the columns are the elements of a head and the depth is
//! keys. Both are bf16 panels (see [`super::panel`]), or panels of 8-bit codes, row by row, with the scales of the keys and of the values behind
//! them, `[PAGE_LEN]` f32 each. A layer is one allocation, `[run of pages][kv_head][k panels | v panels (| k scales and v scales)][page]`, so that of pages
//! which follow each other a head's keys lie in one run of memory, and so do its values; the operating system gives it memory when it is first written.

mod layout;
mod store;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

pub use layout::PageLayout;
pub use store::{LayerWriter, StoreToken};

use super::buffer::Buffer;
use super::disjoint::Disjoint;
use super::product::Element;
use crate::error::{Error, Result};
use crate::spec::contract::PAGE_LEN;
use crate::spec::{KvDtype, KvSpec, PageId};
use layout::HeadPlace;
use store::{SharedLayer, is_finite};

/// The pages of all layers.
pub struct Pages {
    spec: KvSpec,
    /// The layout of a layer.
    pub layout: PageLayout,
    n_pages: usize,
    layers: Vec<Layer>,
    /// `[n_pages]` whether a page may hold a number that is not finite, in any slot, visible or stale. See `attention::products`. Codes are finite.
    not_finite: Vec<AtomicBool>,
}

/// The elements of a layer's pages.
enum Layer {
    Bf16(Buffer<u16>),
    Int8(Buffer<u8>),
}

impl Layer {
    /// Copies the first slots of a page to another.
    fn copy(&mut self, layout: PageLayout, from: PageId, to: PageId, n_slots: usize) {
        /// The same, of a layer of `E`.
        fn copy<E: Element>(elements: &mut [E], layout: PageLayout, [from, to]: [PageId; 2], n_slots: usize) {
            for (from, to) in layout.parts::<E>(from, n_slots).zip(layout.parts::<E>(to, n_slots)) {
                elements.copy_within(from, to.start);
            }
        }
        match self {
            Self::Bf16(elements) => copy::<u16>(elements, layout, [from, to], n_slots),
            Self::Int8(bytes) => copy::<u8>(bytes, layout, [from, to], n_slots),
        }
    }
}

/// One layer of pages, to be read.
#[derive(Clone, Copy)]
pub struct LayerView<'a> {
    /// The layout.
    pub layout: PageLayout,
    layer: &'a Layer,
    not_finite: &'a [AtomicBool],
}

/// A head's part of a page.
pub enum Head<'a> {
    /// Key panels and value panels.
    Bf16(&'a [u16], &'a [u16]),
    /// Codes.
    Int8(Int8Head<'a>),
}

/// A head's part of a page of codes.
pub struct Int8Head<'a> {
    /// Key panels, i8 as bytes.
    pub keys: &'a [u8],
    /// Value panels.
    pub values: &'a [u8],
    /// `[PAGE_LEN]` the scale of each key, little-endian f32.
    pub k_scales: &'a [[u8; 4]],
    /// `[PAGE_LEN]` the scale of each value.
    pub v_scales: &'a [[u8; 4]],
}

impl<'a> Head<'a> {
    /// The keys and the values of a layer which holds bf16.
    #[inline(always)]
    pub fn bf16(self) -> (&'a [u16], &'a [u16]) {
        match self {
            Self::Bf16(keys, values) => (keys, values),
            Self::Int8(_) => unreachable!("pages of codes where bf16 was expected"),
        }
    }

    /// That of a layer which holds codes.
    #[inline(always)]
    pub fn int8(self) -> Int8Head<'a> {
        match self {
            Self::Int8(head) => head,
            Self::Bf16(..) => unreachable!("pages of bf16 where codes were expected"),
        }
    }
}

impl<'a> LayerView<'a> {
    /// A head's part of a page.
    #[inline(always)]
    pub fn head(&self, page: PageId, kv_head: usize) -> Head<'a> {
        let (layout, place) = (&self.layout, self.layout.head(page, kv_head));
        match self.layer {
            Layer::Bf16(elements) => {
                Head::Bf16(&elements[place.keys..][..layout.k_len()], &elements[place.values..][..layout.v_len()])
            }
            Layer::Int8(bytes) => {
                let scales = &bytes[place.scales..][..layout.scales_len()];
                let (k_scales, v_scales) = scales.as_chunks().0.split_at(PAGE_LEN);
                let keys = &bytes[place.keys..][..layout.k_len()];
                Head::Int8(Int8Head { keys, values: &bytes[place.values..][..layout.v_len()], k_scales, v_scales })
            }
        }
    }

    /// Whether pages hold codes.
    #[inline(always)]
    pub fn is_int8(&self) -> bool {
        matches!(self.layer, Layer::Int8(_))
    }

    /// Whether a slot of the page may hold a number that is not finite.
    pub fn maybe_not_finite(&self, page: PageId) -> bool {
        self.not_finite[page.idx()].load(Ordering::Relaxed)
    }
}

impl Pages {
    /// Allocates `n_pages`, zeroed; [`Error::Unavailable`] where the operating system has not the addresses.
    pub fn new(spec: &KvSpec, n_pages: usize) -> Result<Self> {
        let layout = PageLayout::new(spec, n_pages)?;
        let layer = |_| {
            let len = layout.layer_len().ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(match spec.dtype {
                KvDtype::Bf16 => Layer::Bf16(Buffer::try_zeroed(len)?),
                KvDtype::Int8 => Layer::Int8(Buffer::try_zeroed(len)?),
            })
        };
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
        LayerView { layout: self.layout, layer: &self.layers[layer], not_finite: &self.not_finite }
    }

    /// A layer to write.
    pub fn writer(&mut self, layer: usize) -> LayerWriter<'_> {
        let data = match &mut self.layers[layer] {
            Layer::Bf16(elements) => SharedLayer::Bf16(Disjoint::new(elements)),
            Layer::Int8(bytes) => SharedLayer::Int8(Disjoint::new(bytes)),
        };
        LayerWriter { layout: self.layout, data, not_finite: &self.not_finite }
    }

    /// Copies the first `n_slots` slots of a page to another.
    pub fn copy(&mut self, from: PageId, to: PageId, n_slots: usize) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        for layer in &mut self.layers {
            layer.copy(self.layout, from, to, n_slots);
        }
        let was_not_finite = *self.not_finite[from.idx()].get_mut();
        let to = self.not_finite[to.idx()].get_mut();
        // What was in other slots is there still.
        *to = was_not_finite || (*to && n_slots < PAGE_LEN);
        Ok(())
    }

    /// Bytes of a page in the canonical layout.
    pub fn page_bytes(&self) -> usize {
        PAGE_LEN * self.spec.bytes_per_token()
    }

    /// Writes a page in the canonical layout, see [`KvPages::export_page`](crate::backend::KvPages::export_page).
    pub fn export(&self, page: PageId, out: &mut [u8]) -> Result<()> {
        self.check(page)?;
        self.check_bytes(out.len())?;
        let mut heads = self.canonical(page);
        for out in out.chunks_exact_mut(self.spec.dtype.head_bytes(self.layout.head_dim)) {
            let head = heads.next().expect("as many heads as bytes");
            match &self.layers[head.layer] {
                Layer::Bf16(elements) => {
                    for (dim, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                        *out = elements[head.element::<u16>(dim)].to_le_bytes();
                    }
                }
                Layer::Int8(bytes) => {
                    let (codes, scale) = out.split_at_mut(self.layout.head_dim);
                    codes.iter_mut().enumerate().for_each(|(dim, code)| *code = bytes[head.element::<u8>(dim)]);
                    scale.copy_from_slice(&bytes[head.scale()]);
                }
            }
        }
        Ok(())
    }

    /// Reads a page back, bit for bit.
    pub fn import(&mut self, page: PageId, bytes: &[u8]) -> Result<()> {
        self.check(page)?;
        self.check_bytes(bytes.len())?;
        let mut not_finite = false;
        let mut heads = self.canonical(page);
        for stored in bytes.chunks_exact(self.spec.dtype.head_bytes(self.layout.head_dim)) {
            let head = heads.next().expect("as many heads as bytes");
            match &mut self.layers[head.layer] {
                Layer::Bf16(elements) => {
                    for (dim, bits) in stored.as_chunks::<2>().0.iter().enumerate() {
                        let bits = u16::from_le_bytes(*bits);
                        elements[head.element::<u16>(dim)] = bits;
                        not_finite |= !is_finite(bits);
                    }
                }
                Layer::Int8(bytes) => {
                    let (codes, scale) = stored.split_at(self.layout.head_dim);
                    codes.iter().enumerate().for_each(|(dim, code)| bytes[head.element::<u8>(dim)] = *code);
                    bytes[head.scale()].copy_from_slice(scale);
                }
            }
        }
        *self.not_finite[page.idx()].get_mut() = not_finite;
        Ok(())
    }

    /// The places of a page's heads in the order of the canonical layout.
    fn canonical(&self, page: PageId) -> impl Iterator<Item = CanonicalHead> + use<> {
        let (layout, n_layers) = (self.layout, self.spec.n_layers);
        let n = layout.n_kv_heads;
        (0..n_layers * 2 * PAGE_LEN * n).map(move |i| CanonicalHead {
            layout,
            layer: i / (2 * PAGE_LEN * n),
            is_value: i / (PAGE_LEN * n) % 2 == 1,
            slot: i / n % PAGE_LEN,
            place: layout.head(page, i % n),
        })
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

/// The key, or the value, of one token and head.
struct CanonicalHead {
    layout: PageLayout,
    layer: usize,
    is_value: bool,
    slot: usize,
    /// Where the head's part of the page lies.
    place: HeadPlace,
}

impl CanonicalHead {
    /// Where its element `dim` lies in a layer of `E`.
    fn element<E: Element>(&self, dim: usize) -> usize {
        let Self { layout, slot, place, .. } = self;
        if self.is_value { place.value::<E>(*slot, dim) } else { place.key::<E>(layout, *slot, dim) }
    }

    /// Where its scale lies.
    fn scale(&self) -> Range<usize> {
        let first = if self.is_value { self.place.v_scale(self.slot) } else { self.place.k_scale(self.slot) };
        first..first + size_of::<f32>()
    }
}
