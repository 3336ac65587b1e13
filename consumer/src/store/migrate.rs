//! Brings the tables up to date: embedded files, all that are missing in one transaction, one migrator at a time. So nothing stays half
//! made where a name is taken.
//!
//! Writes `schema_migrations`. Migrations only add until no older consumer runs any more, so a database that is ahead of this
//! consumer is fine.

use std::collections::HashMap;

use openssl::sha::sha256;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::connect::{Session, within};
use super::error::StoreError;
use super::settings::Postgres;

/// A file of `migrations/`.
pub(super) struct Migration {
    pub(super) version: i32,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

pub(super) const MIGRATIONS: [Migration; 10] = [
    Migration { version: 1, name: "tables", sql: include_str!("../../migrations/0001_tables.sql") },
    Migration { version: 2, name: "check_results", sql: include_str!("../../migrations/0002_check_results.sql") },
    Migration { version: 3, name: "slot_account", sql: include_str!("../../migrations/0003_slot_account.sql") },
    Migration { version: 4, name: "last_results", sql: include_str!("../../migrations/0004_last_results.sql") },
    Migration { version: 5, name: "uptime", sql: include_str!("../../migrations/0005_uptime.sql") },
    Migration { version: 6, name: "days", sql: include_str!("../../migrations/0006_days.sql") },
    Migration { version: 7, name: "columns", sql: include_str!("../../migrations/0007_columns.sql") },
    Migration { version: 8, name: "topic_id", sql: include_str!("../../migrations/0008_topic_id.sql") },
    Migration { version: 9, name: "owners", sql: include_str!("../../migrations/0009_owners.sql") },
    Migration { version: 10, name: "seen", sql: include_str!("../../migrations/0010_seen.sql") },
];

/// Any number that no other program on the same database is likely to choose.
const LOCK: i64 = 0x5107_3a7c_0001;

const TABLE: &str = "CREATE TABLE schema_migrations (\
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";

/// The table of migrations that unqualified names lead to: whether it stands where new tables would, and whether it is like ours.
const FOUND: &str = "SELECT c.relnamespace = current_schema()::regnamespace, \
    (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND (a.attname, a.atttypid) IN \
    (('version', 'integer'::regtype), ('name', 'text'::regtype), ('checksum', 'text'::regtype))) = 3 \
    FROM pg_class c WHERE c.oid = to_regclass('schema_migrations')";

/// What to do where the names of our tables are taken.
const OWN_SCHEMA: &str = "give Slotwatch a schema of its own: CREATE SCHEMA slotwatch, and ?options=-csearch_path%3Dslotwatch at \
    the end of postgres.url";

/// Applies what is missing and returns how many that were.
pub(super) async fn migrate(session: &mut Session, settings: &Postgres) -> Result<usize, StoreError> {
    apply(session, settings, &MIGRATIONS).await
}

/// Applies those of these migrations that are missing: all or none.
pub(super) async fn apply(
    session: &mut Session,
    settings: &Postgres,
    migrations: &[Migration],
) -> Result<usize, StoreError> {
    let work = session.transact(apply_missing(&session.client, migrations));
    let applied = within(settings.timeout, work).await?;
    for migration in &applied {
        tracing::info!(migration.version, migration.name, "migration applied");
    }
    Ok(applied.len())
}

async fn apply_missing<'a>(client: &Client, migrations: &'a [Migration]) -> Result<Vec<&'a Migration>, StoreError> {
    client.execute_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    let known = known(client).await?;
    let mut missing = Vec::new();
    for migration in migrations {
        let checksum: String = sha256(migration.sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        match known.get(&migration.version) {
            Some((name, _)) if name != migration.name => return Err(taken("schema_migrations")),
            Some((name, other)) if *other != checksum => {
                let text =
                    format!("migration {} ({name}) was applied to this database in another form", migration.version);
                return Err(StoreError::Denied(text));
            }
            Some(_) => continue,
            None => client.batch_execute(migration.sql).await.map_err(refused)?,
        }
        client
            .execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                &[&migration.version, &migration.name, &checksum],
            )
            .await?;
        missing.push(migration);
    }
    Ok(missing)
}

/// Names and checksums of the migrations that were applied; there is a table of them afterwards.
async fn known(client: &Client) -> Result<HashMap<i32, (String, String)>, StoreError> {
    // Asked for first, because a role that may not create tables may still run on tables that are there.
    let found = client.query_typed_opt(FOUND, &[]).await?;
    match found.map(|row| (row.get(0), row.get(1))) {
        Some((_, true)) => {
            let rows = client.query_typed("SELECT version, name, checksum FROM schema_migrations", &[]).await?;
            Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
        }
        Some((Some(true), false)) => Err(taken("schema_migrations")),
        // Another program's stands in a schema behind the one that is ours.
        Some((_, false)) | None => {
            client.batch_execute(TABLE).await.map_err(refused)?;
            Ok(HashMap::new())
        }
    }
}

fn taken(table: &str) -> StoreError {
    StoreError::Denied(format!("the table `{table}` there is another program's; {OWN_SCHEMA}"))
}

/// Why a migration could not be applied.
fn refused(error: tokio_postgres::Error) -> StoreError {
    let Some(db) = error.as_db_error() else { return error.into() };
    let names = [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_FUNCTION, SqlState::DUPLICATE_OBJECT];
    if names.contains(db.code()) {
        return StoreError::Denied(format!("{}, and is another program's; {OWN_SCHEMA}", db.message()));
    }
    if *db.code() == SqlState::INVALID_SCHEMA_NAME {
        return StoreError::Denied(format!("{}: CREATE SCHEMA makes the one that search_path names", db.message()));
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let embedded: Vec<String> =
            MIGRATIONS.iter().map(|migration| format!("{:04}_{}.sql", migration.version, migration.name)).collect();
        assert_eq!(embedded, files);
    }
}
