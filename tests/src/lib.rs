//! One world for the end-to-end tests: real services, misbehaving sites, a cuttable network, and our binaries as processes.
//!
//! Every [`World`] has a database, topics and a consumer group of its own on services that all tests share.

mod account;
pub mod admin;
pub mod chaos;
mod fed;
mod letters;
mod messages;
mod proxy;
mod topic;
mod world;

pub use account::{Slot, awake, due, due_between, logged, now, said, stalled, stop, until_log, verdict};
pub use fed::{Fed, complaints};
pub use letters::{GOLDEN_SECOND, Plain, golden};
pub use messages::{NEW_YEAR, Sent, message, messages};
pub use proxy::{Link, Proxy};
pub use topic::{Record, admin, delete_topic, each_record, read_topic, send};
pub use world::{SESSIONS, Stored, World, binary, patiently, until, until_hit};
