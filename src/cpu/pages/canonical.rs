//! Pages in the canonical layout, which is the same for every backend.

use std::ops::Range;

use super::layout::{HeadPlace, PageLayout};
use super::store::is_finite;
use super::{Layer, Pages};
use crate::cpu::product::Element;
use crate::error::{Error, Result};
use crate::spec::PageId;
use crate::spec::contract::PAGE_LEN;

impl Pages {
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
