//! Rows in Postgres' binary COPY format. Pure.

use std::error::Error;
use std::iter;
use std::net::IpAddr;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use jiff::Timestamp;
use shared::message::State;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

use super::dimensions::Ids;
use crate::decode::Row;

/// The columns that are copied, in the order in which [`encode`] writes them: the key first, where [`keys`] reads it. The others have
/// defaults.
const COLUMNS: [&str; 28] = [
    "target_id",
    "location_id",
    "scheduled_at",
    "dns_start",
    "http_start",
    "certificate_expires_at",
    "lateness",
    "body_bytes",
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
/// Of what stands before the first row: the signature, no flags, no further header.
const HEADER: usize = SIGNATURE.len() + 8;
const BYTES_OF_ROW: usize = 300;

/// What no two rows of the table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) target: i32,
    pub(super) location: i32,
    pub(super) slot: Slot,
}

/// The instant that a check was scheduled for, in microseconds since [`EPOCH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(i64);

impl ToSql for Slot {
    fn to_sql(&self, _: &Type, to: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        to.put_i64(self.0);
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

/// The statement that takes what [`encode`] makes.
pub(super) fn statement() -> String {
    format!("COPY checks ({}) FROM STDIN BINARY", COLUMNS.join(", "))
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
    integer(to, Some(ids.target));
    integer(to, Some(ids.location));
    time(to, Some(row.scheduled_at));
    time(to, row.dns_start);
    time(to, row.http_start);
    time(to, row.certificate_expires_at);
    bigint(to, Some(row.lateness));
    bigint(to, row.body_bytes);
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

/// The keys of encoded rows, in their order.
pub(super) fn keys(encoded: &[u8]) -> Vec<Key> {
    rows(encoded).map(key).collect()
}

/// Encoded rows without those that are not wanted.
pub(super) fn retain(encoded: &[u8], mut wanted: impl FnMut(Key) -> bool) -> Bytes {
    let mut buffer = Vec::with_capacity(encoded.len());
    begin(&mut buffer);
    rows(encoded).filter(|row| wanted(key(row))).for_each(|row| buffer.put_slice(row));
    end(&mut buffer);
    buffer.into()
}

fn rows(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &encoded[HEADER..];
    iter::from_fn(move || {
        let begin = rest;
        let fields = rest.get_i16();
        for _ in 0..fields {
            // An absent field has the length -1.
            let length = rest.get_i32();
            rest.advance(usize::try_from(length).unwrap_or(0));
        }
        (fields >= 0).then(|| &begin[..begin.len() - rest.len()])
    })
}

fn key(mut row: &[u8]) -> Key {
    // Behind the number of fields, each field behind its length.
    row.advance(2 + 4);
    let target = row.get_i32();
    row.advance(4);
    let location = row.get_i32();
    row.advance(4);
    Key { target, location, slot: Slot(row.get_i64()) }
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
