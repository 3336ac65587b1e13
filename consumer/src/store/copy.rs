//! Rows in Postgres' binary COPY format. Pure.

use std::net::IpAddr;

use bytes::{BufMut as _, Bytes};
use jiff::Timestamp;
use shared::message::State;

use super::dimensions::Ids;
use crate::decode::Row;

/// The columns that are copied, in the order in which [`encode`] writes them. The others have defaults.
pub(super) const COLUMNS: [&str; 28] = [
    "scheduled_at",
    "dns_start",
    "http_start",
    "certificate_expires_at",
    "lateness",
    "body_bytes",
    "target_id",
    "location_id",
    "request_id",
    "dns_elapsed",
    "http_elapsed",
    "redirect_elapsed",
    "connect_elapsed",
    "tls_elapsed",
    "first_byte_elapsed",
    "transfer_elapsed",
    "state",
    "status_code",
    "redirects",
    "regex_found",
    "id",
    "ip",
    "reason",
    "http_version",
    "failure_class",
    "failure_phase",
    "failure_detail",
    "dns_error",
];

/// 2000-01-01, where Postgres' clock begins, in microseconds of Unix time.
const EPOCH: i64 = 946_684_800_000_000;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const BYTES_OF_ROW: usize = 300;

/// The statement that takes what [`encode`] makes.
pub(super) fn statement(table: &str) -> String {
    format!("COPY {table} ({}) FROM STDIN BINARY", COLUMNS.join(", "))
}

/// The statement that moves what is new from one table to another. By name: since they were made, their columns may have moved.
pub(super) fn merge(from: &str, to: &str) -> String {
    let columns = COLUMNS.join(", ");
    format!("INSERT INTO {to} ({columns}) SELECT {columns} FROM {from} ON CONFLICT DO NOTHING")
}

/// Whether a column is among those that are copied.
pub(super) fn writes(column: &str) -> bool {
    COLUMNS.contains(&column)
}

/// All rows, header and trailer included.
pub(super) fn encode(rows: &[Row], ids: &[Ids]) -> Bytes {
    let mut buffer = Vec::with_capacity(rows.len() * BYTES_OF_ROW + 32);
    begin(&mut buffer);
    for (row, ids) in rows.iter().zip(ids) {
        encode_row(&mut buffer, row, *ids);
    }
    end(&mut buffer);
    buffer.into()
}

/// What stands before the first row.
pub(super) fn begin(to: &mut Vec<u8>) {
    to.put_slice(SIGNATURE);
    // No flags, no further header.
    to.put_i32(0);
    to.put_i32(0);
}

/// What stands after the last row.
pub(super) fn end(to: &mut Vec<u8>) {
    to.put_i16(-1);
}

/// One row.
pub(super) fn encode_row(to: &mut Vec<u8>, row: &Row, ids: Ids) {
    #[expect(clippy::cast_possible_truncation, reason = "there are 28 columns")]
    to.put_i16(COLUMNS.len() as i16);
    time(to, Some(row.scheduled_at));
    time(to, row.dns_start);
    time(to, row.http_start);
    time(to, row.certificate_expires_at);
    bigint(to, Some(row.lateness));
    bigint(to, row.body_bytes);
    integer(to, Some(ids.target));
    integer(to, Some(ids.location));
    integer(to, Some(ids.request));
    integer(to, row.dns_elapsed);
    integer(to, row.http_elapsed);
    row.phases.iter().for_each(|phase| integer(to, *phase));
    smallint(to, Some(state(row.state)));
    smallint(to, row.status_code);
    smallint(to, Some(row.redirects));
    field(to, row.regex_found.map(|found| [u8::from(found)]));
    field(to, Some(row.id.as_bytes()));
    address(to, row.ip);
    field(to, row.reason.as_deref());
    field(to, row.version.as_deref());
    field(to, row.failure_class.as_deref());
    field(to, row.failure_phase.map(shared::message::Phase::as_str));
    field(to, row.failure_detail.as_deref());
    field(to, row.dns_error.as_deref());
}

fn state(state: State) -> i16 {
    match state {
        State::Up => 1,
        State::Down => 2,
        State::Missed => 3,
        State::Unmeasured => 4,
    }
}

fn time(to: &mut Vec<u8>, at: Option<Timestamp>) {
    bigint(to, at.map(|at| at.as_microsecond() - EPOCH));
}

fn bigint(to: &mut Vec<u8>, value: Option<i64>) {
    field(to, value.map(i64::to_be_bytes));
}

fn integer(to: &mut Vec<u8>, value: Option<i32>) {
    field(to, value.map(i32::to_be_bytes));
}

fn smallint(to: &mut Vec<u8>, value: Option<i16>) {
    field(to, value.map(i16::to_be_bytes));
}

/// Family, prefix length, whether it is a network, length, address.
fn address(to: &mut Vec<u8>, ip: Option<IpAddr>) {
    match ip {
        None => field(to, None::<[u8; 0]>),
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            field(to, Some([2, 32, 0, 4, a, b, c, d]));
        }
        Some(IpAddr::V6(ip)) => {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&[3, 128, 0, 16]);
            bytes[4..].copy_from_slice(&ip.octets());
            field(to, Some(bytes));
        }
    }
}

fn field(to: &mut Vec<u8>, value: Option<impl AsRef<[u8]>>) {
    match value {
        None => to.put_i32(-1),
        Some(value) => {
            let bytes = value.as_ref();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_possible_wrap,
                reason = "the decoder bounds every text"
            )]
            to.put_i32(bytes.len() as i32);
            to.put_slice(bytes);
        }
    }
}
