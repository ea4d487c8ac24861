//! Products with quantised weights: codes of 8 or 4 bits by groups of inputs, and rows quantised to 8 bits by the same
//! groups.
//!
//! A group's codes multiply and add exactly, in i32, so the tables' instructions cannot differ in them; what is rounded
//! is how the groups' sums are scaled and added, and that is one sequence for every M (DESIGN.md, "Same bits").
//!
//! | file | what |
//! |---|---|
//! | `panels` | weights, quantised and packed |
//! | `rows` | left operands, quantised |
//! | `symmetric` | how a group becomes 8 bits; keys and values too |
//! | `dots` | the integer instructions that a kernel table must offer |
//! | `code` | how codes of 8 and of 4 bits are multiplied and scaled |
//! | `product` | the kernel: how rows and panels are blocked |
//! | `tile` | its inner loop: a few rows by a few panels |

mod code;
mod dots;
mod panels;
mod product;
mod rows;
mod symmetric;
mod tile;

pub use dots::Dots;
pub use panels::{Line, QuantPanels, Width};
pub use product::QuantProduct;
pub use rows::{Group, TILE_CODES};
pub use symmetric::Symmetric;
