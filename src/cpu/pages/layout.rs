//! Where things lie in a layer of pages.

use crate::cpu::product::Element;
use crate::error::{Error, Result};
use crate::spec::contract::{PAGE_LEN, TILE_DEPTH};
use crate::spec::{KvDtype, KvSpec, PageId};

/// Where things lie in a layer of pages. Lengths and places are in elements: bf16, or bytes where codes are stored.
#[derive(Clone, Copy)]
pub struct PageLayout {
    /// Heads of a page.
    pub n_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// `head_dim`, padded: the depth of the key panels.
    pub k_depth: usize,
    dtype: KvDtype,
}

impl PageLayout {
    /// The layout of these keys and values, if the kernels take them.
    pub fn new(spec: &KvSpec) -> Result<Self> {
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
        Ok(Self { n_kv_heads, head_dim, k_depth: head_dim.next_multiple_of(TILE_DEPTH), dtype })
    }

    /// Elements of the key panels of one head of a page.
    pub fn k_len(&self) -> usize {
        PAGE_LEN * self.k_depth
    }

    /// Elements of the panels of one head of a page, keys and values.
    pub fn panels_len(&self) -> usize {
        self.k_len() + PAGE_LEN * self.head_dim
    }

    /// Elements of one head of a page: the panels, and behind codes their scales. Whole cache lines.
    pub fn head_len(&self) -> usize {
        match self.dtype {
            KvDtype::Bf16 => self.panels_len(),
            KvDtype::Int8 => self.panels_len() + 2 * PAGE_LEN * size_of::<f32>(),
        }
    }

    /// Elements of a page in one layer.
    pub fn page_len(&self) -> usize {
        self.n_kv_heads * self.head_len()
    }

    /// First element of a head's part of a page.
    pub fn head_start(&self, page: PageId, kv_head: usize) -> usize {
        page.idx() * self.page_len() + kv_head * self.head_len()
    }

    /// Where element `dim` of the key in `slot` lies in a head's part of a page of `E`.
    pub fn k_index<E: Element>(&self, slot: usize, dim: usize) -> usize {
        E::index(slot, dim, self.k_depth)
    }

    /// Where element `dim` of the value in `slot` lies in a head's part of a page of `E`.
    pub fn v_index<E: Element>(&self, slot: usize, dim: usize) -> usize {
        self.k_len() + E::index(dim, slot, PAGE_LEN)
    }

    /// Where the four bytes of the scale of the key in `slot` lie in a head's part of a page of codes.
    pub fn k_scale_index(&self, slot: usize) -> usize {
        self.panels_len() + slot * size_of::<f32>()
    }

    /// Where the scale of the value in `slot` lies.
    pub fn v_scale_index(&self, slot: usize) -> usize {
        self.k_scale_index(PAGE_LEN + slot)
    }
}
