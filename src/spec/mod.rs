//! What is to be computed: the model's configuration and weights, the arguments of a step and of the public kernels,
//! and the constants of the numerics contract. Plain data; nothing here computes.

pub mod batch;
pub mod config;
pub mod contract;
pub mod ids;
pub mod kernels;
pub mod weights;

pub use batch::{Logits, Ragged, StepBatch};
pub use config::{Architecture, ModelConfig, RopeConfig, RopeScaling};
pub use ids::{PageId, TokenId};
pub use kernels::{AttentionArgs, KvSpec, Slot};
pub use weights::{WeightSource, WeightView};
