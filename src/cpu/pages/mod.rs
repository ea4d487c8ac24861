//! KV pages in the layout that the attention kernel wants: every page of a head is a product's right operand as it lies
//! (codes where the table multiplies them).
//!
//! For `q k^T` the columns are keys and the depth is `head_dim`, padded to 32; for `p v` the columns are the elements
//! of a head and the depth is keys. Both are bf16 panels (see [`super::panel`]), or panels of 8-bit codes, row by row,
//! with the scales of the keys and of the values behind them, `[PAGE_LEN]` f32 each. A layer is one allocation, `[run
//! of pages][kv_head][k panels | v panels (| k scales and v scales)][page]`, so that of pages which follow each other a
//! head's keys lie in one run of memory, and so do its values; the operating system gives it memory when it is first
//! written.

mod canonical;
mod layout;
mod store;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

pub use layout::PageLayout;
pub use store::{LayerWriter, StoreToken};

use super::buffer::Buffer;
use super::disjoint::Disjoint;
use super::product::Element;
use crate::error::{Error, Result};
use crate::spec::contract::PAGE_LEN;
use crate::spec::{KvDtype, KvSpec, PageId};
use store::SharedLayer;

/// The pages of all layers.
pub struct Pages {
    spec: KvSpec,
    /// The layout of a layer.
    pub layout: PageLayout,
    n_pages: usize,
    layers: Vec<Layer>,
    /// `[n_pages]` whether a page may hold a number that is not finite, in any slot, visible or stale. See
    /// `attention::products`. Codes are finite.
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

    /// Makes all of a page zero, where it may hold what is not finite.
    fn clear(&mut self, layout: PageLayout, page: PageId) {
        match self {
            Self::Bf16(elements) => layout.parts::<u16>(page, PAGE_LEN).for_each(|part| elements[part].fill(0)),
            Self::Int8(_) => {}
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

    /// A page's first slot is about to be written in every layer: what its owner before has left is of no use to
    /// anybody. If a number of it was not finite, it goes, or attention would take the slow way over this page for
    /// good.
    pub fn begin(&mut self, page: PageId) {
        if std::mem::take(self.not_finite[page.idx()].get_mut()) {
            for layer in &mut self.layers {
                layer.clear(self.layout, page);
            }
        }
    }

    fn check(&self, page: PageId) -> Result<()> {
        if page.idx() < self.n_pages {
            return Ok(());
        }
        Err(Error::Page { page, reason: format!("the pool has {} pages", self.n_pages) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_begins_anew_has_lost_what_was_not_finite() {
        let spec = KvSpec { n_layers: 2, n_kv_heads: 2, head_dim: 32, dtype: KvDtype::Bf16 };
        let mut pages = Pages::new(&spec, 3).unwrap();
        let bytes =
            [half::bf16::NAN.to_le_bytes(), half::bf16::ONE.to_le_bytes()].concat().repeat(pages.page_bytes() / 4);
        for page in 0..3 {
            pages.import(PageId(page), &bytes).unwrap();
        }
        pages.begin(PageId(1));
        let marked = [0, 1, 2].map(|page| pages.layer(1).maybe_not_finite(PageId(page)));
        assert_eq!(marked, [true, false, true]);
        for page in 0..3 {
            let mut found = vec![1; bytes.len()];
            pages.export(PageId(page), &mut found).unwrap();
            assert!(if page == 1 { found.iter().all(|byte| *byte == 0) } else { found == bytes }, "page {page}");
        }
        // One that has nothing of the kind is left as it is.
        let finite = half::bf16::ONE.to_le_bytes().repeat(pages.page_bytes() / 2);
        pages.import(PageId(1), &finite).unwrap();
        pages.begin(PageId(1));
        let mut found = vec![0; finite.len()];
        pages.export(PageId(1), &mut found).unwrap();
        assert_eq!(found, finite);
    }
}
