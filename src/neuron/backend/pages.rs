//! KV pages in device memory: a tensor of keys and one of values for each layer, and their way to the host and back.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{ArrayView3, ArrayViewMut3};

use super::layout::{Page, PageLayout};
use super::pending::Pending;
use super::plan::NOBODYS_PAGE;
use super::programs::{Bound, Programs, if_there};
use crate::backend::KvPages;
use crate::error::{Error, Result};
use crate::neuron::catalog::Request;
use crate::neuron::device::DeviceTensor;
use crate::spec::{AttentionArgs, KvSpec, PageId, Slot};

/// Pages on a core. Page `p` is the device's page `p + 1`: the first belongs to nobody.
pub struct NeuronPages {
    pub(super) programs: Arc<Programs>,
    spec: KvSpec,
    n_pages: usize,
    pub(super) layout: PageLayout,
    /// Pages on the device, as many as the programs were compiled for.
    pub(super) n_device_pages: usize,
    pub(super) layers: Vec<Layer>,
}

/// What a layer has.
pub(super) struct Layer {
    pub layout: PageLayout,
    /// `[n_device_pages, 128, n_kv_heads, R]`
    pub k: DeviceTensor,
    /// `[n_device_pages, 128, page_len / 128, n_kv_heads, head_dim]`
    pub v: DeviceTensor,
    /// Tokens that the next attention takes along.
    pub pending: Pending,
    /// Programs with these pages bound, by their keys.
    pub bound: HashMap<String, Bound>,
}

impl NeuronPages {
    /// Allocates pages, zeroed; as many as the smallest programs that there are for so many.
    ///
    /// # Errors
    /// The catalog's, when there is no program for such pages; the device's, when its memory is too small.
    pub fn new(programs: Arc<Programs>, spec: &KvSpec, page_len: usize, n_pages: usize) -> Result<Self> {
        let layout = PageLayout::new(spec, page_len)?;
        let request = pages_request(&programs, layout).at_least("n_pages", n_pages as u64 + 1);
        let request = request.at_least("n_heads", spec.n_kv_heads as u64).any("window");
        let request = ["n_seqs", "q_len", "max_pages"].into_iter().fold(request, |r, name| r.at_least(name, 1));
        let n_device_pages = programs.smallest(&request, "n_pages")?;
        let size_bytes = n_device_pages.checked_mul(layout.size_bytes());
        let size_bytes =
            size_bytes.ok_or_else(|| Error::argument(format!("{n_pages} pages are more than any memory has")))?;
        let zeroed = |what: &str, layer: usize| -> Result<DeviceTensor> {
            let tensor = programs.core.allocate(&format!("{what} of layer {layer}"), size_bytes)?;
            if if_there(tensor.fill(0, 0, size_bytes))?.is_none() {
                let zeros = vec![0_u8; layout.size_bytes()];
                (0..n_device_pages).try_for_each(|page| tensor.write(page * zeros.len(), &zeros))?;
            }
            Ok(tensor)
        };
        let layer = |i| {
            let (k, v) = (zeroed("keys", i)?, zeroed("values", i)?);
            Ok(Layer { layout, k, v, pending: Pending::default(), bound: HashMap::new() })
        };
        let layers = (0..spec.n_layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { programs, spec: *spec, n_pages, layout, n_device_pages, layers })
    }

    fn check_page(&self, page: PageId) -> Result<()> {
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

/// A request for attention over pages of this layout, in the variant with device loops, that says nothing of its other
/// sizes yet.
pub(super) fn pages_request(programs: &Programs, layout: PageLayout) -> Request {
    let PageLayout { page_len, n_kv_heads, head_dim } = layout;
    let request = programs.request("attention").exactly("n_kv_heads", n_kv_heads as u64);
    request
        .exactly("head_dim", head_dim as u64)
        .exactly("page_len", page_len as u64)
        .exactly("static_pages", 0)
        .any("unroll")
}

/// A page on the device.
pub(super) fn device_page(page: PageId) -> usize {
    page.idx() + NOBODYS_PAGE as usize + 1
}

impl Layer {
    /// Reads a page, without what is pending.
    pub fn read(&self, page: PageId) -> Result<Page> {
        let (mut read, first) = (Page::new(self.layout), device_page(page) * self.layout.len());
        self.k.read_elements(first, &mut read.k)?;
        self.v.read_elements(first, &mut read.v)?;
        Ok(read)
    }

    /// Writes a page.
    pub fn write(&self, page: PageId, data: &Page) -> Result<()> {
        self.write_keys(page, data)?;
        Ok(self.v.write_elements(device_page(page) * self.layout.len(), &data.v)?)
    }

    /// Writes a page's keys.
    pub fn write_keys(&self, page: PageId, data: &Page) -> Result<()> {
        Ok(self.k.write_elements(device_page(page) * self.layout.len(), &data.k)?)
    }

    /// Reads a page as it is when nothing is pending.
    pub fn current(&self, page: PageId) -> Result<Page> {
        let mut read = self.read(page)?;
        self.pending.on_page(page).for_each(|(slot_idx, (k, v))| read.store(slot_idx, k, v));
        Ok(read)
    }

    /// Brings the tokens that wait for a page there.
    pub fn settle(&mut self, page: PageId) -> Result<()> {
        if self.pending.on_page(page).next().is_some() {
            self.write(page, &self.current(page)?)?;
            self.pending.forget(page);
        }
        Ok(())
    }

    /// Brings all tokens to their pages.
    pub fn settle_all(&mut self) -> Result<()> {
        self.pending.pages().into_iter().try_for_each(|page| self.settle(page))
    }

    /// Copies a page on the device; over the host where this libnrt has no function for it.
    fn copy(&self, from: PageId, to: PageId) -> Result<()> {
        let size_bytes = self.layout.size_bytes();
        let [from_byte, to_byte] = [from, to].map(|page| device_page(page) * size_bytes);
        for tensor in [&self.k, &self.v] {
            if if_there(tensor.copy_from(to_byte, tensor, from_byte, size_bytes))?.is_none() {
                return self.write(to, &self.read(from)?);
            }
        }
        Ok(())
    }
}

impl KvPages for NeuronPages {
    fn spec(&self) -> &KvSpec {
        &self.spec
    }

    fn n_pages(&self) -> usize {
        self.n_pages
    }

    fn append(&mut self, layer: usize, k: ArrayView3<'_, f32>, v: ArrayView3<'_, f32>, at: &[Slot]) -> Result<()> {
        self.spec.check_append(layer, [k.dim(), v.dim()], at, (self.n_pages, self.layout.page_len))?;
        let layer = &mut self.layers[layer];
        layer.settle_all()?; // what an earlier call left
        layer.pending = Pending::new(k, v, at);
        Ok(())
    }

    fn attention(&mut self, args: &AttentionArgs<'_>, out: ArrayViewMut3<'_, f32>) -> Result<()> {
        args.validate(&self.spec, out.dim(), (self.n_pages, self.layout.page_len))?;
        super::attention::attention(self, args, out)
    }

    fn copy_page(&mut self, from: PageId, to: PageId, n_slots: usize) -> Result<()> {
        if n_slots > self.layout.page_len {
            return Err(Error::argument(format!("a page has {} slots, not {n_slots}", self.layout.page_len)));
        }
        self.check_page(from)?;
        self.check_page(to)?;
        for layer in self.layers.iter_mut().filter(|_| from != to) {
            layer.settle(from)?;
            layer.pending.forget(to);
            layer.copy(from, to)?;
        }
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        self.layout.page_len * self.spec.bytes_per_token()
    }

    fn export_page(&self, page: PageId, out: &mut [u8]) -> Result<()> {
        self.check_page(page)?;
        self.check_bytes(out.len())?;
        for (layer, out) in self.layers.iter().zip(out.chunks_exact_mut(2 * self.layout.size_bytes())) {
            layer.current(page)?.export(out);
        }
        Ok(())
    }

    fn import_page(&mut self, page: PageId, bytes: &[u8]) -> Result<()> {
        self.check_page(page)?;
        self.check_bytes(bytes.len())?;
        for (layer, bytes) in self.layers.iter_mut().zip(bytes.chunks_exact(2 * self.layout.size_bytes())) {
            layer.pending.forget(page);
            layer.write(page, &Page::import(self.layout, bytes))?;
        }
        Ok(())
    }
}
