//! A double of an openGauss server.

pub mod stream;
