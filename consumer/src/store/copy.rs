//! Rows in Postgres' binary COPY format. Pure.

use std::error::Error;
use std::iter;
use std::net::IpAddr;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};
use uuid::Uuid;

use super::columns::{COLUMNS, Column, Ids, Value};
use crate::decode::Row;

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
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    format!("COPY checks ({}) FROM STDIN BINARY", names.join(", "))
}

/// All rows, header and trailer included.
pub(super) fn encode<'a>(rows: impl Iterator<Item = &'a Row>, ids: &[Ids]) -> Bytes {
    let mut buffer = Vec::with_capacity(ids.len() * BYTES_OF_ROW + 32);
    begin(&mut buffer);
    for (row, ids) in rows.zip(ids) {
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
    #[expect(clippy::cast_possible_truncation, reason = "a table has at most 1,600 columns")]
    to.put_i16(COLUMNS.len() as i16);
    COLUMNS.iter().for_each(|column| encode_value(to, column, row, ids));
}

fn encode_value(to: &mut Vec<u8>, column: &Column, row: &Row, ids: Ids) {
    match column.value {
        Value::Id(of) => integer(to, Some(of(ids))),
        Value::Smallint(of) => field(to, of(row).map(i16::to_be_bytes)),
        Value::Integer(of) => integer(to, of(row)),
        Value::Bigint(of) => bigint(to, of(row)),
        Value::Boolean(of) => field(to, of(row).map(|value| [u8::from(value)])),
        Value::Time(of) => bigint(to, of(row).map(|at| at.as_microsecond() - EPOCH)),
        Value::Uuid(of) => field(to, of(row).map(Uuid::into_bytes)),
        Value::Inet(of) => address(to, of(row)),
        Value::Text(of) => field(to, of(row)),
        // Behind the version of the format.
        Value::Jsonb(of) => field(to, of(row).map(|json| [&[1], json.as_bytes()].concat())),
    }
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

fn bigint(to: &mut Vec<u8>, value: Option<i64>) {
    field(to, value.map(i64::to_be_bytes));
}

fn integer(to: &mut Vec<u8>, value: Option<i32>) {
    field(to, value.map(i32::to_be_bytes));
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
