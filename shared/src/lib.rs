//! What the producer and the consumer both need: the message that they meet at, and the habits that they share.

pub mod message;

pub mod config;
pub mod kafka;

pub mod admin;
pub mod arguments;
pub mod backoff;
pub mod harmless;
pub mod lifecycle;
pub mod masked;
pub mod output;
pub mod telemetry;
