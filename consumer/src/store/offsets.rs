//! How far each partition is stored: the table `consumer_offsets`.
//!
//! Offsets move by compare-and-set in the transaction of the rows, so a consumer that has lost a partition without knowing it
//! cannot store anything of it a second time.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::error::StoreError;

/// Stands for the oldest record that Kafka has, whichever that is.
pub const OLDEST: i64 = -1;

/// The topic whose offsets are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The id of the Kafka cluster.
    pub cluster: String,
    /// The topic.
    pub name: String,
}

/// A partition's offset, from where its owner left it to where it shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: i32,
    /// The next offset that Postgres has.
    pub from: i64,
    /// The next offset that Postgres shall have.
    pub to: i64,
}

/// Other groups whose consumers are there, of these partitions.
const OTHERS: &str = "SELECT min(o.consumer_group) FROM consumer_offsets o \
    JOIN pg_stat_activity a ON a.pid = o.backend_pid AND a.backend_start = o.backend_started \
    WHERE cluster = $1 AND topic = $2 AND partition = ANY($3) AND consumer_group <> $4";

/// Notes that this session owns partitions, and returns the next offsets of those that have one. Waits for a transaction of the
/// former owner to end.
pub(super) async fn claim(
    client: &Client,
    topic: &Topic,
    group: &str,
    partitions: &[i32],
) -> Result<Vec<(i32, i64)>, StoreError> {
    let other: Option<String> =
        client.query_one(OTHERS, &[&topic.cluster, &topic.name, &partitions, &group]).await?.get(0);
    if let Some(other) = other {
        return Err(StoreError::Denied(format!(
            "the offsets of topic `{}` belong to the consumer group `{other}`, which runs, and this is `{group}`; one database is for \
             one group: set consume.group to that one, or give this one a database or a schema of its own",
            topic.name
        )));
    }
    let rows = client
        .query(
            "UPDATE consumer_offsets SET backend_pid = pg_backend_pid(), backend_started = \
             (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()), consumer_group = $4 \
             WHERE cluster = $1 AND topic = $2 AND partition = ANY($3) RETURNING partition, next_offset",
            &[&topic.cluster, &topic.name, &partitions, &group],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Gives partitions that are new their first offsets. They have no owner yet, and another may have been faster.
pub(super) async fn begin(
    client: &Client,
    topic: &Topic,
    id: Option<&str>,
    offsets: &[(i32, i64)],
) -> Result<(), StoreError> {
    let (partitions, firsts): (Vec<i32>, Vec<i64>) = offsets.iter().copied().unzip();
    client
        .execute(
            "INSERT INTO consumer_offsets (cluster, topic, topic_id, partition, next_offset) \
             SELECT $1, $2, $3, new.* FROM unnest($4::integer[], $5::bigint[]) new \
             ON CONFLICT (cluster, topic, partition) DO NOTHING",
            &[&topic.cluster, &topic.name, &id, &partitions, &firsts],
        )
        .await?;
    Ok(())
}

/// Moves offsets where nothing is stored with it, and notes which topic of this name they belong to, if that is known.
pub(super) async fn settle(client: &Client, topic: &Topic, id: Option<&str>, moves: &[Move]) -> Result<(), StoreError> {
    let statement = "UPDATE consumer_offsets o \
        SET next_offset = m.to_offset, topic_id = coalesce($6, o.topic_id), updated_at = now() \
        FROM unnest($3::integer[], $4::bigint[], $5::bigint[]) AS m (partition, from_offset, to_offset) \
        WHERE o.cluster = $1 AND o.topic = $2 AND o.partition = m.partition AND o.next_offset = m.from_offset";
    let (partitions, from, to) = columns(moves);
    let moved = client.execute(statement, &[&topic.cluster, &topic.name, &partitions, &from, &to, &id]).await?;
    all_of(moves, moved)
}

const ADVANCE: &str = "UPDATE consumer_offsets o SET next_offset = m.to_offset, updated_at = now() \
    FROM unnest($3::integer[], $4::bigint[], $5::bigint[]) AS m (partition, from_offset, to_offset) \
    WHERE o.cluster = $1 AND o.topic = $2 AND o.partition = m.partition AND o.next_offset = m.from_offset";

/// Moves offsets; all or none, where a transaction has begun.
pub(super) async fn advance(client: &Client, topic: &Topic, moves: &[Move]) -> Result<(), StoreError> {
    let (partitions, from, to) = columns(moves);
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&topic.cluster, Type::TEXT),
        (&topic.name, Type::TEXT),
        (&partitions, Type::INT4_ARRAY),
        (&from, Type::INT8_ARRAY),
        (&to, Type::INT8_ARRAY),
    ];
    all_of(moves, client.execute_typed(ADVANCE, &parameters).await?)
}

fn columns(moves: &[Move]) -> (Vec<i32>, Vec<i64>, Vec<i64>) {
    let column = |of: fn(&Move) -> i64| moves.iter().map(of).collect();
    (moves.iter().map(|step| step.partition).collect(), column(|step| step.from), column(|step| step.to))
}

fn all_of(moves: &[Move], moved: u64) -> Result<(), StoreError> {
    if moved == moves.len() as u64 { Ok(()) } else { Err(StoreError::Stale) }
}

/// Lets all partitions of a topic begin anew.
pub(super) async fn rewind(client: &Client, topic: &Topic) -> Result<u64, StoreError> {
    let rewound = client
        .execute(
            "UPDATE consumer_offsets SET next_offset = $3, updated_at = now() WHERE cluster = $1 AND topic = $2",
            &[&topic.cluster, &topic.name, &OLDEST],
        )
        .await?;
    Ok(rewound)
}

/// Ends the sessions of former owners that still hold the lock on these partitions: frozen, or cut off, in the middle of a
/// transaction. What they had not committed is read again; the group has taken the partitions from them. Behind a pooler the session may
/// have passed to somebody else: then it is not in the middle of moving offsets.
pub(super) async fn fence(client: &Client, topic: &Topic, partitions: &[i32]) -> Result<usize, StoreError> {
    let ended = client
        .query(
            "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a \
             WHERE a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL AND (a.pid, a.backend_start) IN \
             (SELECT backend_pid, backend_started FROM consumer_offsets \
              WHERE cluster = $1 AND topic = $2 AND partition = ANY($3)) \
             AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.relation = 'consumer_offsets'::regclass \
              AND l.mode = 'RowExclusiveLock' AND l.granted)",
            &[&topic.cluster, &topic.name, &partitions],
        )
        .await?;
    Ok(ended.len())
}
