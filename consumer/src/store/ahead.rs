//! Rows in COPY's format before their transaction begins: encoded while they are gathered, so that Postgres need not wait for it.

use bytes::Bytes;

use super::copy;
use super::dimensions::Known;
use crate::decode::Row;

impl Known {
    /// Encodes further rows of a batch, if the ids of all are known.
    pub fn encode(&self, rows: &[Row], ahead: &mut Ahead) {
        let known = self.lock();
        match ahead.begun {
            _ if ahead.given_up => return,
            None => {
                copy::begin(&mut ahead.buffer);
                ahead.begun = Some(known.generation());
            }
            Some(generation) if generation == known.generation() => {}
            Some(_) => return ahead.give_up(),
        }
        for row in rows {
            match known.ids(row) {
                Some(ids) => copy::encode_row(&mut ahead.buffer, row, ids),
                None => return ahead.give_up(),
            }
        }
        ahead.rows += rows.len();
    }
}

/// The rows of a batch as COPY wants them, unless something was unknown; then the store encodes them itself.
#[derive(Debug, Default)]
pub struct Ahead {
    buffer: Vec<u8>,
    /// Of which generation the ids are.
    begun: Option<u64>,
    rows: usize,
    given_up: bool,
    sealed: Bytes,
}

impl Ahead {
    /// Says that no row follows.
    pub fn seal(&mut self) {
        if self.begun.is_some() && !self.given_up {
            copy::end(&mut self.buffer);
            self.sealed = std::mem::take(&mut self.buffer).into();
        }
    }

    /// All that COPY wants, if it is of just so many rows and their ids still hold.
    pub(super) fn of(&self, rows: usize, generation: u64) -> Option<Bytes> {
        let holds = self.begun == Some(generation) && self.rows == rows && !self.sealed.is_empty();
        holds.then(|| self.sealed.clone())
    }

    fn give_up(&mut self) {
        self.given_up = true;
        self.buffer = Vec::new();
    }
}
