//! AWS Trainium.

pub mod neff;
