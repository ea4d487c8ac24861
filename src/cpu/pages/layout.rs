//! Where things lie in a layer of pages.

use std::ops::Range;

use crate::cpu::product::Element;
use crate::error::{Error, Result};
use crate::spec::contract::{PAGE_LEN, PANEL_COLS, TILE_DEPTH};
use crate::spec::{KvDtype, KvSpec, PageId};

/// Pages that lie together: of each head the keys of so many pages are one run of memory, then their values. The pages
/// of a long sequence mostly follow each other, and the hardware fetches ahead in a long run as it does not in short
/// ones (DESIGN.md, "One layout"); but a page that is written brings memory for its neighbours, where the operating
/// system gives huge pages.
const RUN_PAGES: usize = 8;

/// Where things lie in a layer of pages. Lengths and places are in elements: bf16, or bytes where codes are stored.
#[derive(Clone, Copy)]
pub struct PageLayout {
    n_pages: usize,
    /// Heads of a page.
    pub n_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// `head_dim`, padded: the depth of the key panels.
    pub k_depth: usize,
    dtype: KvDtype,
}

impl PageLayout {
    /// The layout of so many pages of these keys and values, if the kernels take them.
    pub fn new(spec: &KvSpec, n_pages: usize) -> Result<Self> {
        let KvSpec { n_layers, n_kv_heads, head_dim, dtype } = *spec;
        if head_dim == 0 || !head_dim.is_multiple_of(16) || n_kv_heads == 0 || n_layers == 0 {
            return Err(Error::argument(format!(
                "a KV cache of {n_layers} layers, {n_kv_heads} heads, head_dim {head_dim}: the CPU kernels want at least one of each and a head_dim \
                 that is a multiple of 16"
            )));
        }
        // Both halves of a page with their padding and scales are less than this, so nothing below overflows.
        if n_kv_heads.checked_mul(head_dim).and_then(|len| len.checked_mul(8 * PAGE_LEN)).is_none() {
            return Err(Error::argument(format!(
                "a KV cache of {n_kv_heads} heads of {head_dim} elements: no page is as large"
            )));
        }
        Ok(Self { n_pages, n_kv_heads, head_dim, k_depth: head_dim.next_multiple_of(TILE_DEPTH), dtype })
    }

    /// Elements of the key panels of one head of a page.
    pub fn k_len(&self) -> usize {
        PAGE_LEN * self.k_depth
    }

    /// Elements of the value panels of one head of a page.
    pub fn v_len(&self) -> usize {
        PAGE_LEN * self.head_dim
    }

    /// Elements of the scales of one head of a page, those of keys and then those of values. Whole cache lines.
    pub fn scales_len(&self) -> usize {
        match self.dtype {
            KvDtype::Bf16 => 0,
            KvDtype::Int8 => 2 * PAGE_LEN * size_of::<f32>(),
        }
    }

    /// Elements of one head of a page.
    fn head_len(&self) -> usize {
        self.k_len() + self.v_len() + self.scales_len()
    }

    /// Elements of a layer. None if there are not as many numbers.
    pub fn layer_len(&self) -> Option<usize> {
        self.n_pages.checked_mul(self.n_kv_heads * self.head_len())
    }

    /// Where a head's part of a page lies.
    pub fn head(&self, page: PageId, kv_head: usize) -> HeadPlace {
        let in_run = page.idx() % RUN_PAGES;
        let first_page = page.idx() - in_run;
        // The last run is as long as there are pages left.
        let run = RUN_PAGES.min(self.n_pages - first_page);
        let keys = (first_page * self.n_kv_heads + run * kv_head) * self.head_len();
        let values = keys + run * self.k_len();
        let scales = values + run * self.v_len();
        HeadPlace {
            keys: keys + in_run * self.k_len(),
            values: values + in_run * self.v_len(),
            scales: scales + in_run * self.scales_len(),
        }
    }

    /// Where the first `n_slots` slots of a page lie: head by head whole panels of keys, then of each panel of values
    /// the beginning, then all scales.
    pub fn parts<E: Element>(self, page: PageId, n_slots: usize) -> impl Iterator<Item = Range<usize>> {
        let keys = n_slots.next_multiple_of(PANEL_COLS) * self.k_depth;
        let values = n_slots.next_multiple_of(E::INTERLEAVED) * PANEL_COLS;
        (0..self.n_kv_heads).flat_map(move |kv_head| {
            let place = self.head(page, kv_head);
            let part = |first: usize, len: usize| first..first + len;
            let panels = (0..self.v_len()).step_by(PAGE_LEN * PANEL_COLS).map(move |i| part(place.values + i, values));
            std::iter::once(part(place.keys, keys)).chain(panels).chain([part(place.scales, self.scales_len())])
        })
    }
}

/// Where a head's part of a page lies in its layer.
#[derive(Clone, Copy)]
pub struct HeadPlace {
    /// First element of the key panels.
    pub keys: usize,
    /// First element of the value panels.
    pub values: usize,
    /// First byte of the scales.
    pub scales: usize,
}

impl HeadPlace {
    /// Where element `dim` of the key in `slot` lies in a layer of `E`.
    pub fn key<E: Element>(&self, layout: &PageLayout, slot: usize, dim: usize) -> usize {
        self.keys + E::index(slot, dim, layout.k_depth)
    }

    /// Where element `dim` of the value in `slot` lies in a layer of `E`.
    pub fn value<E: Element>(&self, slot: usize, dim: usize) -> usize {
        self.values + E::index(dim, slot, PAGE_LEN)
    }

    /// Where the four bytes of the scale of the key in `slot` lie in a layer of codes.
    pub fn k_scale(&self, slot: usize) -> usize {
        self.scales + slot * size_of::<f32>()
    }

    /// Where the scale of the value in `slot` lies.
    pub fn v_scale(&self, slot: usize) -> usize {
        self.k_scale(PAGE_LEN + slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_of_a_layer_is_a_part_of_one_page() {
        for (n_pages, dtype) in [(1, KvDtype::Int8), (RUN_PAGES, KvDtype::Bf16), (2 * RUN_PAGES + 3, KvDtype::Int8)] {
            let spec = KvSpec { n_layers: 1, n_kv_heads: 3, head_dim: 48, dtype };
            let layout = PageLayout::new(&spec, n_pages).unwrap();
            let mut parts: Vec<_> = (0..n_pages as u32)
                .flat_map(|page| layout.parts::<u8>(PageId(page), PAGE_LEN))
                .filter(|part| !part.is_empty())
                .map(|part| (part.start, part.end))
                .collect();
            parts.sort_unstable();
            let covered = parts.iter().try_fold(0, |end, part| (part.0 == end).then_some(part.1));
            assert_eq!(covered, layout.layer_len(), "{n_pages} pages of {dtype:?}");
        }
    }

    #[test]
    fn a_head_s_keys_go_on_in_the_next_page() {
        let spec = KvSpec { n_layers: 1, n_kv_heads: 2, head_dim: 64, dtype: KvDtype::Bf16 };
        let layout = PageLayout::new(&spec, RUN_PAGES).unwrap();
        let [here, next] = [4, 5].map(|page| layout.head(PageId(page), 1));
        assert_eq!(next.keys - here.keys, layout.k_len());
        assert_eq!(next.values - here.values, layout.v_len());
    }

    #[test]
    fn parts_of_some_slots_have_all_of_those_and_nothing_of_another_page() {
        fn check<E: Element>(dtype: KvDtype) {
            let spec = KvSpec { n_layers: 1, n_kv_heads: 2, head_dim: 48, dtype };
            let (layout, page) = (PageLayout::new(&spec, 3).unwrap(), PageId(1));
            let whole: Vec<_> = layout.parts::<E>(page, PAGE_LEN).collect();
            for n_slots in [0, 1, 17, 255] {
                let parts: Vec<_> = layout.parts::<E>(page, n_slots).collect();
                let lies_in = |parts: &[Range<usize>], i| parts.iter().any(|part| part.contains(&i));
                assert!(parts.iter().cloned().flatten().all(|i| lies_in(&whole, i)));
                for (kv_head, slot, dim) in
                    (0..2).flat_map(|h| (0..n_slots).flat_map(move |s| (0..48).map(move |d| (h, s, d))))
                {
                    let place = layout.head(page, kv_head);
                    assert!(lies_in(&parts, place.key::<E>(&layout, slot, dim)), "key {slot} of {n_slots}");
                    assert!(lies_in(&parts, place.value::<E>(slot, dim)), "value {slot} of {n_slots}");
                }
            }
        }
        check::<u16>(KvDtype::Bf16);
        check::<u8>(KvDtype::Int8);
    }
}
