//! What holds for every sequence of calls, and for every file.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rusqlite::types::Value;

use super::*;

/// More than any number of the tests.
const END: u64 = 1 << 62;

#[derive(Clone, Debug)]
enum Step {
    /// Appends results of these lengths, and delivers some that wait or waited.
    Update(Vec<usize>, Vec<Index>),
    /// Reads from here on, so far and so many.
    Read(Index, Index, usize),
    /// Closes the spool and opens it again.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (vec(0..40_usize, 0..6), vec(any::<Index>(), 0..6)).prop_map(|(append, done)| Step::Update(append, done)),
        3 => (any::<Index>(), any::<Index>(), 0..8_usize).prop_map(|(from, until, limit)| Step::Read(from, until, limit)),
        1 => Just(Step::Reopen),
    ]
}

/// The spool as it is meant.
struct Model {
    waiting: VecDeque<(u64, Vec<u8>)>,
    next: u64,
}

impl Model {
    fn bytes(&self) -> u64 {
        self.waiting.iter().map(|(_, payload)| payload.len() as u64).sum()
    }

    fn update(&mut self, append: &[Vec<u8>], delivered: &[u64], max_bytes: u64) -> Vec<u64> {
        self.waiting.retain(|(seq, _)| !delivered.contains(seq));
        for payload in append {
            self.waiting.push_back((self.next, payload.clone()));
            self.next += 1;
        }
        let mut dropped = Vec::new();
        while self.bytes() > max_bytes {
            dropped.extend(self.waiting.pop_front().map(|(seq, _)| seq));
        }
        dropped
    }

    fn read(&self, from: u64, until: u64, limit: usize) -> Vec<(u64, Vec<u8>)> {
        self.waiting.iter().filter(|(seq, _)| (from..until).contains(seq)).take(limit).cloned().collect()
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn a_spool_is_a_bounded_queue(steps in vec(step(), 1..40), max_bytes in 20..200_u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.sqlite");
        let mut spool = Spool::open(&path, max_bytes).unwrap();
        let mut model = Model { waiting: VecDeque::new(), next: 1 };
        for step in steps {
            let upto = usize::try_from(model.next).unwrap() + 2;
            match step {
                Step::Update(lengths, done) => {
                    let append: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
                    let done: Vec<u64> = done.iter().map(|index| index.index(upto) as u64).collect();
                    let dropped = spool.update(&append, &done).unwrap();
                    prop_assert_eq!(dropped, model.update(&append, &done, max_bytes));
                }
                Step::Read(from, until, limit) => {
                    let (from, until) = (from.index(upto) as u64, until.index(upto) as u64);
                    prop_assert_eq!(spool.read(from, until, limit).unwrap(), model.read(from, until, limit));
                }
                Step::Reopen => {
                    drop(spool);
                    spool = Spool::open(&path, max_bytes).unwrap();
                    model.next = model.waiting.back().map_or(1, |(seq, _)| seq + 1);
                }
            }
            prop_assert_eq!((spool.len(), spool.bytes(), spool.next()), (model.waiting.len() as u64, model.bytes(), model.next));
            prop_assert_eq!(spool.is_empty(), model.waiting.is_empty());
        }
        prop_assert_eq!(spool.read(0, END, 1000).unwrap(), Vec::from(model.waiting));
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("NaN is NULL", |number| !number.is_nan()).prop_map(Value::Real),
        ".{0,50}".prop_map(Value::Text),
        vec(any::<u8>(), 0..50).prop_map(Value::Blob),
    ]
}

fn fill(path: &Path, sizes: impl IntoIterator<Item = usize>) -> Spool {
    let mut spool = Spool::open(path, 1 << 30).unwrap();
    let payloads: Vec<Vec<u8>> = sizes.into_iter().map(|size| vec![b'x'; size]).collect();
    spool.update(&payloads, &[]).unwrap();
    spool
}

/// Reads what there is, delivers it, appends something and finds it again.
fn use_it(spool: &mut Spool) {
    let mut from = 0;
    while let Some((last, _)) = spool.read(from, END, 50).unwrap().last() {
        from = last + 1;
    }
    let all: Vec<u64> = (0..from).collect();
    spool.update(&[], &all).unwrap();
    let seq = spool.next();
    spool.update(&[b"new".to_vec()], &[]).unwrap();
    assert_eq!(spool.read(seq, END, 10).unwrap(), [(seq, b"new".to_vec())]);
}

proptest! {
    #![proptest_config(config(48))]

    /// Somebody has written into the table. What is sound stays, and everything can be read and removed.
    #[test]
    fn values_that_no_spool_writes(foreign in vec((1..30_i64, value()), 1..10)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.sqlite");
        drop(fill(&path, [10; 20]));
        let connection = Connection::open(&path).unwrap();
        for (seq, value) in &foreign {
            connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", params![seq, value]).unwrap();
        }
        drop(connection);
        let mut spool = Spool::open(&path, 1 << 30).unwrap();
        let rows = spool.read(0, END, 1000).unwrap();
        let is_foreign = |seq: u64| foreign.iter().any(|(other, _)| other.unsigned_abs() == seq);
        for seq in (1..=20).filter(|seq| !is_foreign(*seq)) {
            prop_assert!(rows.contains(&(seq, vec![b'x'; 10])));
        }
        prop_assert_eq!(rows.len() as u64, spool.len());
        prop_assert_eq!(rows.iter().map(|(_, payload)| payload.len() as u64).sum::<u64>(), spool.bytes());
        let all: Vec<u64> = rows.iter().map(|(seq, _)| *seq).collect();
        spool.update(&[], &all).unwrap();
        prop_assert_eq!((spool.len(), spool.bytes()), (0, 0));
    }

    /// Bytes have changed or gone. Nothing panics, and the spool can be used.
    #[test]
    fn a_corrupted_file(
        patches in vec((any::<Index>(), vec(any::<u8>(), 1..200)), 0..6),
        end in proptest::option::of(any::<Index>()),
        wal in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.sqlite");
        let copy = folder.path().join("copy.sqlite");
        let spool = fill(&path, (0..60).map(|n| if n % 20 == 7 { 20_000 } else { 500 }));
        // A copy of the files in use is what a killed process leaves; closing writes all into one.
        if !wal {
            drop(spool);
        }
        let mut found = Vec::new();
        for suffix in ["", "-wal"] {
            if let Ok(bytes) = fs::read(format!("{}{suffix}", path.display())) {
                found.push((format!("{}{suffix}", copy.display()), bytes));
            }
        }
        let (_, bytes) = found.last_mut().unwrap();
        for (at, patch) in &patches {
            let at = at.index(bytes.len());
            let length = patch.len().min(bytes.len() - at);
            bytes[at..at + length].copy_from_slice(&patch[..length]);
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        for (path, bytes) in found {
            fs::write(path, bytes).unwrap();
        }
        use_it(&mut Spool::open(&copy, 1 << 30).unwrap());
    }
}

/// Numbers, tables and contents that no spool has: moved aside.
#[test]
fn databases_of_others() {
    let table = [
        "CREATE TABLE results (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL); INSERT INTO results VALUES (-1, 'x')",
        "CREATE TABLE results (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);
         INSERT INTO results VALUES (9223372036854775807, 'x')",
        "CREATE TABLE results (number, text); INSERT INTO results VALUES (1, 2)",
        "CREATE TABLE results (seq, payload); INSERT INTO results VALUES ('x', NULL)",
        "CREATE TABLE others (x)",
        "CREATE VIEW results AS SELECT 1 AS seq, 'x' AS payload",
    ];
    for script in table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.sqlite");
        Connection::open(&path).unwrap().execute_batch(script).unwrap();
        let mut spool = Spool::open(&path, 1000).unwrap();
        assert_eq!((spool.len(), spool.next()), (0, 1), "{script}");
        use_it(&mut spool);
        assert!(folder.path().join("spool.damaged").exists(), "{script}");
    }
}
