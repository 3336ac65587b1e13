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

/// More ids than this are not kept, nor more bytes of what they stand for: someone is inventing names.
const MOST: usize = 200_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Dimensions {
    /// Which database they are of: ids of another one mean nothing.
    generation: u64,
    targets: HashMap<String, i32>,
    locations: HashMap<String, i32>,
    requests: HashMap<Request, i32>,
    /// About what all of these take.
    bytes: usize,
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

    fn learn<K: Eq + Hash>(
        &mut self,
        found: Vec<(K, i32)>,
        of: fn(&mut Self) -> &mut HashMap<K, i32>,
        bytes: fn(&K) -> usize,
    ) {
        let entry = size_of::<(K, i32)>();
        self.bytes += found.iter().map(|(key, _)| entry + bytes(key)).sum::<usize>();
        of(self).extend(found);
    }

    /// The table that has no id for something of a row, and what that is.
    fn missing<'a>(&self, row: &'a Row) -> (&'static str, &'a str) {
        if !self.targets.contains_key(&row.target) {
            ("targets", &row.target)
        } else if !self.locations.contains_key(&row.location) {
            ("locations", &row.location)
        } else {
            ("requests", &row.request.url)
        }
    }

    fn trim(&mut self) {
        if self.targets.len() + self.locations.len() + self.requests.len() > MOST || self.bytes > MOST_BYTES {
            *self = Self { generation: self.generation, ..Self::default() };
        }
    }
}

/// The ids of rows, in their order; what is new is inserted.
pub(super) async fn resolve<'a>(
    known: &Known,
    session: &Session,
    rows: impl Iterator<Item = &'a Row> + Clone,
) -> Result<Vec<Ids>, StoreError> {
    known.lock().trim();
    let targets = unknown(&known.lock().targets, rows.clone().map(|row| &row.target));
    if !targets.is_empty() {
        let found = session.transact(names(&session.client, "targets", targets)).await?;
        known.lock().learn(found, |known| &mut known.targets, String::len);
    }
    let locations = unknown(&known.lock().locations, rows.clone().map(|row| &row.location));
    if !locations.is_empty() {
        let found = session.transact(names(&session.client, "locations", locations)).await?;
        known.lock().learn(found, |known| &mut known.locations, String::len);
    }
    let new = unknown(&known.lock().requests, rows.clone().map(|row| &row.request));
    if !new.is_empty() {
        let found = session.transact(requests(&session.client, new)).await?;
        known.lock().learn(found, |known| &mut known.requests, Request::bytes);
    }
    let missing = {
        let known = known.lock();
        let ids: Result<Vec<Ids>, (&str, &str)> =
            rows.map(|row| known.ids(row).ok_or_else(|| known.missing(row))).collect();
        match ids {
            Ok(ids) => return Ok(ids),
            Err((table, name)) => (table, name.to_owned()),
        }
    };
    Err(unanswered(&session.client, missing).await?)
}

/// What it means that a table has no id for something that was put into it: where it has ids for others, a trigger or a policy keeps
/// this one out, or someone deletes it at once.
async fn unanswered(client: &Client, (table, name): (&str, String)) -> Result<StoreError, StoreError> {
    let reason = format!("table `{table}` gives no id for {name:?}");
    let has_others = client.query_typed_one(&format!("SELECT EXISTS (SELECT FROM {table})"), &[]).await?.get(0);
    Ok(if has_others {
        StoreError::Content(reason)
    } else {
        StoreError::Denied(format!("{reason}, nor for anything else: does a trigger or a policy hide its rows?"))
    })
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
    // Most have none, and the digests of these are those of consumers that knew of none.
    let root = request.root.as_ref().map_or_else(String::new, |root| format!("\0={root}"));
    Uuid::new_v5(&NAMESPACE, (parts.map(String::as_str).join("\0") + &root).as_bytes())
}
