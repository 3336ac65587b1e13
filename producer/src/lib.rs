//! The producer: times DNS and HTTP checks on a fixed schedule and publishes the results to Kafka.
//!
//! Modules in the order in which a check meets them.

pub mod settings;

pub mod pattern;
pub mod targets;

pub mod descriptors;
pub mod heap;

pub mod reload;
pub mod replicas;
pub mod roster;
pub mod shards;

pub mod alarm;
pub mod schedule;

pub mod dispatch;
pub mod probe;

pub mod judge;
pub mod result;

pub mod spool;

pub mod publish;

pub mod metrics;

pub mod listing;
pub mod once;

pub mod import;
