//! Everything a check needs, on this machine: real services to store it, and names and websites to probe.
//!
//! The services are separate processes that end with their owner, however it ends; see `guard.rs` for how.

mod distribution;
mod error;
mod guard;
mod home;

pub mod kafka;
mod mock;
pub mod pgbouncer;
pub mod postgres;
pub mod services;

pub mod process;

pub mod certificate;
pub mod dns;
pub mod full_disk;
pub mod site;

pub use error::Error;
pub use services::Services;
