//! What is to be computed: the model's configuration and weights, the arguments of a step and of the public kernels,
//! and the constants of the numerics contract. Plain data and where it comes from; nothing here computes a step.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod contract;
pub mod hf_config;
pub mod ids;
pub mod kernels;
pub mod kv_dtype;
pub mod synthetic;
pub mod tensors;
pub mod weight_dtype;
pub mod weights;

pub use batch::{Logits, Ragged, StepBatch};
pub use checkpoint::Checkpoint;
pub use config::{Architecture, ModelConfig, RopeConfig, RopeScaling};
pub use ids::{PageId, TokenId};
pub use kernels::{AttentionArgs, KvSpec, Shape3, Slot, check_matmul};
pub use kv_dtype::KvDtype;
pub use synthetic::{Preset, Synthetic};
pub use tensors::TensorSpec;
pub use weight_dtype::WeightDtype;
pub use weights::{CheckedWeights, WeightSource, WeightView};
