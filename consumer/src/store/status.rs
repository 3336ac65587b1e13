//! What the tables say of themselves.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::offsets::Topic;

/// How far a partition is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The partition.
    pub partition: i32,
    /// The next offset that Postgres wants.
    pub next: i64,
    /// The id of the topic that it belongs to, where it is known.
    pub topic_id: Option<String>,
    /// When it last moved.
    pub moved_at: Timestamp,
    /// Whether the session that claimed it last is still there.
    pub owned: bool,
}

/// A table of results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayTable {
    /// Its name, without the schema.
    pub table: String,
    /// Rows, as the planner believes; `None` where nobody has counted yet.
    pub rows: Option<i64>,
    /// Bytes on disk, indexes included.
    pub bytes: i64,
}

pub(super) async fn progress(client: &Client, topic: &Topic) -> Result<Vec<Progress>, StoreError> {
    let query = "SELECT o.partition, o.next_offset, o.updated_at, EXISTS (SELECT FROM pg_stat_activity a \
                 WHERE a.pid = o.backend_pid AND a.backend_start = o.backend_started), o.topic_id \
                 FROM consumer_offsets o WHERE o.cluster = $1 AND o.topic = $2 ORDER BY o.partition";
    let rows = client.query_typed(query, &[(&topic.cluster, Type::TEXT), (&topic.name, Type::TEXT)]).await?;
    let progress = |row: &tokio_postgres::Row| Progress {
        partition: row.get(0),
        next: row.get(1),
        moved_at: row.get(2),
        owned: row.get(3),
        topic_id: row.get(4),
    };
    Ok(rows.iter().map(progress).collect())
}

pub(super) async fn days(client: &Client) -> Result<Vec<DayTable>, StoreError> {
    let query = "SELECT c.relname, nullif(c.reltuples, -1)::bigint, pg_total_relation_size(c.oid) \
                 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'checks'::regclass ORDER BY 1";
    let rows = client.query_typed(query, &[]).await?;
    Ok(rows.iter().map(|row| DayTable { table: row.get(0), rows: row.get(1), bytes: row.get(2) }).collect())
}
