//! The small tables beside `checks`, and their ids in memory: `targets`, `locations`, `requests`.
//!
//! They are written outside of the batch's transaction: an id that was once seen stays true when a batch is rolled back.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Client;
use uuid::Uuid;

use super::columns::Ids;
use super::connect::Session;
use super::error::StoreError;
use crate::decode::{Request, Row};

/// More ids than this are not kept: someone is inventing names.
const MOST: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Dimensions {
    /// Which database they are of: ids of another one mean nothing.
    generation: u64,
    targets: HashMap<String, i32>,
    locations: HashMap<String, i32>,
    requests: HashMap<Request, i32>,
}

/// The ids that the store has found out, shared with those who encode ahead of it.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<Dimensions>>);

impl Known {
    pub(super) fn lock(&self) -> MutexGuard<'_, Dimensions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dimensions {
    /// Forgets all: it may be another database from now on.
    pub(super) fn renew(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::default() };
    }

    /// How often all was forgotten.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The ids of a row, if all of them are known.
    pub(super) fn ids(&self, row: &Row) -> Option<Ids> {
        Some(Ids {
            target: *self.targets.get(&row.target)?,
            location: *self.locations.get(&row.location)?,
            request: *self.requests.get(&row.request)?,
        })
    }

    fn trim(&mut self) {
        if self.targets.len() + self.locations.len() + self.requests.len() > MOST {
            *self = Self { generation: self.generation, ..Self::default() };
        }
    }
}

/// The ids of rows, in their order; what is new is inserted.
pub(super) async fn resolve(known: &Known, session: &Session, rows: &[Row]) -> Result<Vec<Ids>, StoreError> {
    known.lock().trim();
    let targets = unknown(&known.lock().targets, rows.iter().map(|row| &row.target));
    if !targets.is_empty() {
        let found = session.transact(names(&session.client, "targets", targets)).await?;
        known.lock().targets.extend(found);
    }
    let locations = unknown(&known.lock().locations, rows.iter().map(|row| &row.location));
    if !locations.is_empty() {
        let found = session.transact(names(&session.client, "locations", locations)).await?;
        known.lock().locations.extend(found);
    }
    let new = unknown(&known.lock().requests, rows.iter().map(|row| &row.request));
    if !new.is_empty() {
        let found = session.transact(requests(&session.client, new)).await?;
        known.lock().requests.extend(found);
    }
    let known = known.lock();
    let ids: Option<Vec<Ids>> = rows.iter().map(|row| known.ids(row)).collect();
    // Someone deletes what we insert; the next try asks again.
    ids.ok_or_else(|| StoreError::Unavailable("an id is missing in a dimension table".to_owned()))
}

fn unknown<'a, K: Eq + Hash + Ord>(known: &HashMap<K, i32>, wanted: impl Iterator<Item = &'a K>) -> Vec<&'a K> {
    let unknown: HashSet<&K> = wanted.filter(|key| !known.contains_key(*key)).collect();
    let mut unknown: Vec<&K> = unknown.into_iter().collect();
    // In one order everywhere, so that two consumers do not wait for one another.
    unknown.sort();
    unknown
}

async fn names(client: &Client, table: &str, names: Vec<&String>) -> Result<Vec<(String, i32)>, StoreError> {
    let select = format!("SELECT name, id FROM {table} WHERE name = ANY($1)");
    let known = client.query(&select, &[&names]).await?;
    if known.len() < names.len() {
        let insert = format!("INSERT INTO {table} (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING");
        let known: HashSet<&str> = known.iter().map(|row| row.get(0)).collect();
        let new: Vec<&String> = names.iter().copied().filter(|name| !known.contains(name.as_str())).collect();
        client.execute(&insert, &[&new]).await?;
    }
    let rows = client.query(&select, &[&names]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn requests(client: &Client, requests: Vec<&Request>) -> Result<Vec<(Request, i32)>, StoreError> {
    let digests: Vec<Uuid> = requests.iter().map(|request| digest(request)).collect();
    let select = "SELECT digest, id FROM requests WHERE digest = ANY($1)";
    let mut rows = client.query(select, &[&digests]).await?;
    if rows.len() < digests.len() {
        insert(client, &requests, &digests).await?;
        rows = client.query(select, &[&digests]).await?;
    }
    let ids: HashMap<Uuid, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let found = requests
        .into_iter()
        .zip(&digests)
        .filter_map(|(request, digest)| ids.get(digest).map(|id| (request.clone(), *id)));
    Ok(found.collect())
}

async fn insert(client: &Client, requests: &[&Request], digests: &[Uuid]) -> Result<(), StoreError> {
    let column = |of: fn(&Request) -> &str| requests.iter().map(|request| of(request)).collect::<Vec<&str>>();
    let optional = |of: fn(&Request) -> Option<&str>| requests.iter().map(|request| of(request)).collect::<Vec<_>>();
    client
        .execute(
            "INSERT INTO requests (digest, method, url, url_root, schema, host, path, regex, interval_ms) \
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
             $9::bigint[]) \
             ON CONFLICT DO NOTHING",
            &[
                &digests,
                &column(|request| &request.method),
                &column(|request| &request.url),
                &column(|request| request.url_root()),
                &column(|request| &request.schema),
                &column(|request| &request.host),
                &optional(|request| request.path.as_deref()),
                &optional(|request| request.regex.as_deref()),
                &requests.iter().map(|request| request.interval_ms).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

/// Any fixed namespace will do.
const NAMESPACE: Uuid = Uuid::from_u128(0x0b6e_6a0c_94d1_5b1f_8f5d_3c5d_7a10_2e41);

fn digest(request: &Request) -> Uuid {
    // No text contains NUL, and an absent one differs from an empty one.
    let path = request.path.as_ref().map_or_else(String::new, |path| format!("={path}"));
    let regex = request.regex.as_ref().map_or_else(String::new, |regex| format!("={regex}"));
    let interval = request.interval_ms.map_or_else(String::new, |interval| format!("={interval}"));
    let parts = [&request.method, &request.url, &request.schema, &request.host, &path, &regex, &interval];
    Uuid::new_v5(&NAMESPACE, parts.map(String::as_str).join("\0").as_bytes())
}
