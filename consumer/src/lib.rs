//! Reads check results from Kafka and stores each of them once in Postgres.
//!
//! The way of a record, in the order of the modules: [`source`] polls Kafka on a thread of its own, [`gather`] decodes
//! ([`decode`]) and batches ([`batch`]), [`persist`] hands each batch to the [`dead_letter`] topic and to the [`store`], whose
//! transaction holds the rows and the offsets, and tells the source what to commit and where to read.

pub mod settings;

pub mod record;
pub mod source;

pub mod batch;
pub mod decode;
pub mod gather;

pub mod dead_letter;
pub mod patience;
pub mod persist;
pub mod position;
pub mod store;

pub mod metrics;
pub mod pipeline;

pub mod status;
