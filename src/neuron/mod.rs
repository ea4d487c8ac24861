//! AWS Trainium.

pub mod catalog;
pub mod neff;
