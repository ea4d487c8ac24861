//! Newtypes for ids, so that a page can not be taken for a token.

/// A token's index in the vocabulary.
pub type TokenId = u32;

/// A KV page's index in the backend's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageId(pub u32);

impl PageId {
    /// The index as a `usize`, for addressing.
    pub const fn idx(self) -> usize {
        self.0 as usize
    }
}
