//! The columns of `checks` that a result is stored in: the one list that COPY, the keys, the error classes and a test against the
//! database's catalog read. Pure.

use std::net::IpAddr;

use jiff::Timestamp;
use shared::message::{Phase, State};
use uuid::Uuid;

use crate::decode::Row;

/// The ids that a row refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) target: i32,
    pub(super) location: i32,
    pub(super) request: i32,
}

/// A column that is copied. The others have defaults.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) nullable: bool,
    pub(super) value: Value,
}

/// The type of a column, and where its value comes from.
pub(super) enum Value {
    Id(fn(Ids) -> i32),
    Smallint(fn(&Row) -> Option<i16>),
    Integer(fn(&Row) -> Option<i32>),
    Bigint(fn(&Row) -> Option<i64>),
    Boolean(fn(&Row) -> Option<bool>),
    Time(fn(&Row) -> Option<Timestamp>),
    Uuid(fn(&Row) -> Option<Uuid>),
    Inet(fn(&Row) -> Option<IpAddr>),
    Text(fn(&Row) -> Option<&str>),
    Jsonb(fn(&Row) -> Option<&str>),
}

/// In the order in which they are copied: the key first.
pub(super) static COLUMNS: [Column; 30] = [
    required("target_id", Value::Id(|ids| ids.target)),
    required("location_id", Value::Id(|ids| ids.location)),
    required("scheduled_at", Value::Time(|row| Some(row.scheduled_at))),
    optional("dns_start", Value::Time(|row| row.dns_start)),
    optional("http_start", Value::Time(|row| row.http_start)),
    optional("certificate_expires_at", Value::Time(|row| row.certificate_expires_at)),
    required("lateness", Value::Bigint(|row| Some(row.lateness))),
    optional("body_bytes", Value::Bigint(|row| row.body_bytes)),
    required("request_id", Value::Id(|ids| ids.request)),
    optional("dns_elapsed", Value::Integer(|row| row.dns_elapsed)),
    optional("http_elapsed", Value::Integer(|row| row.http_elapsed)),
    optional("redirect_elapsed", Value::Integer(|row| row.phases[0])),
    optional("connect_elapsed", Value::Integer(|row| row.phases[1])),
    optional("tls_elapsed", Value::Integer(|row| row.phases[2])),
    optional("first_byte_elapsed", Value::Integer(|row| row.phases[3])),
    optional("transfer_elapsed", Value::Integer(|row| row.phases[4])),
    required("state", Value::Smallint(|row| Some(state(row.state)))),
    optional("status_code", Value::Smallint(|row| row.status_code)),
    required("redirects", Value::Smallint(|row| Some(row.redirects))),
    optional("regex_found", Value::Boolean(|row| row.regex_found)),
    required("id", Value::Uuid(|row| Some(row.id))),
    optional("ip", Value::Inet(|row| row.ip)),
    optional("reason", Value::Text(|row| row.reason.as_deref())),
    optional("http_version", Value::Text(|row| row.version.as_deref())),
    optional("failure_class", Value::Text(|row| row.failure_class.as_deref())),
    optional("failure_phase", Value::Text(|row| row.failure_phase.map(Phase::as_str))),
    optional("failure_detail", Value::Text(|row| row.failure_detail.as_deref())),
    optional("dns_error", Value::Text(|row| row.dns_error.as_deref())),
    optional("failed_addresses", Value::Jsonb(|row| row.failed_addresses.as_deref())),
    optional("final_url", Value::Text(|row| row.final_url.as_deref())),
];

const fn required(name: &'static str, value: Value) -> Column {
    Column { name, nullable: false, value }
}

const fn optional(name: &'static str, value: Value) -> Column {
    Column { name, nullable: true, value }
}

/// Whether it can be for what a row has in it that a column is null: others are written in every row, or in none.
pub(super) fn may_be_null(name: &str) -> bool {
    COLUMNS.iter().any(|column| column.name == name && column.nullable)
}

fn state(state: State) -> i16 {
    match state {
        State::Up => 1,
        State::Down => 2,
        State::Missed => 3,
        State::Unmeasured => 4,
    }
}
