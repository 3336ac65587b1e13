//! Reads check results from Kafka and stores each of them once in Postgres.
//!
//! The way of a record, in the order of the modules: [`source`] polls Kafka on a thread of its own, [`gather`] decodes
//! ([`decode`]) and batches ([`batch`]), [`persist`] hands each batch to the [`dead_letter`] topic and to the [`store`], whose
//! transaction holds the rows and the offsets, and tells the source what to commit and where to read ([`claim`]). [`watch`] looks
//! meanwhile whether the topic is still what it was.

pub mod settings;

pub mod record;
pub mod source;

pub mod batch;
pub mod decode;
pub mod gather;

pub mod claim;
pub mod dead_letter;
pub mod held;
pub mod patience;
pub mod persist;
pub mod position;
pub mod store;

pub mod gaps;
pub mod metrics;
pub mod pipeline;
pub mod watch;

pub mod status;
