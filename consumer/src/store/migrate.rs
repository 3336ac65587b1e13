//! Brings the tables up to date: embedded files, each in a transaction of its own, one migrator at a time.
//!
//! Writes `schema_migrations`. Migrations only add until no older consumer runs any more, so a database that is ahead of this
//! consumer is fine.

use openssl::sha::sha256;

use super::connect::{Session, within};
use super::error::StoreError;
use super::settings::Postgres;

/// A file of `migrations/`.
pub(super) struct Migration {
    pub(super) version: i32,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

pub(super) const MIGRATIONS: [Migration; 7] = [
    Migration { version: 1, name: "tables", sql: include_str!("../../migrations/0001_tables.sql") },
    Migration { version: 2, name: "check_results", sql: include_str!("../../migrations/0002_check_results.sql") },
    Migration { version: 3, name: "slot_account", sql: include_str!("../../migrations/0003_slot_account.sql") },
    Migration { version: 4, name: "last_results", sql: include_str!("../../migrations/0004_last_results.sql") },
    Migration { version: 5, name: "uptime", sql: include_str!("../../migrations/0005_uptime.sql") },
    Migration { version: 6, name: "days", sql: include_str!("../../migrations/0006_days.sql") },
    Migration { version: 7, name: "columns", sql: include_str!("../../migrations/0007_columns.sql") },
];

/// Any number that no other program on the same database is likely to choose.
const LOCK: i64 = 0x5107_3a7c_0001;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (\
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";

/// Applies what is missing and returns how many that were.
pub(super) async fn migrate(session: &mut Session, settings: &Postgres) -> Result<usize, StoreError> {
    apply(session, settings, &MIGRATIONS).await
}

/// Applies those of these migrations that are missing.
pub(super) async fn apply(
    session: &mut Session,
    settings: &Postgres,
    migrations: &[Migration],
) -> Result<usize, StoreError> {
    let mut applied = 0;
    for migration in migrations {
        if within(settings.timeout, apply_one(session, migration)).await? {
            tracing::info!(migration.version, migration.name, "migration applied");
            applied += 1;
        }
    }
    Ok(applied)
}

async fn apply_one(session: &mut Session, migration: &Migration) -> Result<bool, StoreError> {
    let checksum: String = sha256(migration.sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let transaction = session.client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    // Asked for first, because a role that may not create tables may still run on tables that are there.
    let exists: bool = transaction.query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[]).await?.get(0);
    if !exists {
        transaction.batch_execute(TABLE).await?;
    }
    let known = transaction
        .query_opt("SELECT checksum FROM schema_migrations WHERE version = $1", &[&migration.version])
        .await?;
    if let Some(known) = known {
        if known.get::<_, String>(0) != checksum {
            return Err(StoreError::Denied(format!(
                "migration {} ({}) was applied to this database in another form",
                migration.version, migration.name
            )));
        }
        return Ok(false);
    }
    transaction.batch_execute(migration.sql).await?;
    transaction
        .execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            &[&migration.version, &migration.name, &checksum],
        )
        .await?;
    transaction.commit().await?;
    Ok(true)
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
