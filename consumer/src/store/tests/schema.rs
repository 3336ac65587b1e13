//! The tables as the catalog knows them, and what columns that are added later do to all that reads them.

use super::*;
use crate::store::columns::{COLUMNS, Column, Value};

/// The view of the original system begins with these, in this order.
const ORIGINAL: &str = "host dns_start dns_elapsed ip http_start http_elapsed http_schema http_url_root http_path http_url \
                        http_regex http_status_code http_status_code_reason http_regex_found";

fn sql_type(column: &Column) -> &'static str {
    match column.value {
        Value::Id(_) | Value::Integer(_) => "integer",
        Value::Smallint(_) => "smallint",
        Value::Bigint(_) => "bigint",
        Value::Boolean(_) => "boolean",
        Value::Time(_) => "timestamp with time zone",
        Value::Uuid(_) => "uuid",
        Value::Inet(_) => "inet",
        Value::Text(_) => "text",
        Value::Jsonb(_) => "jsonb",
    }
}

async fn list(store: &mut Store, sql: &str) -> Vec<String> {
    ask(store, &format!("SELECT coalesce(array_agg(line), '{{}}') FROM ({sql}) lines (line)"), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_columns_that_are_copied_are_those_of_the_table() {
    let mut store = store(&database()).await;
    // What has a default is Postgres' to fill in.
    let table = "SELECT format('%s %s%s', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN ' NOT NULL' END) \
                 FROM pg_attribute WHERE attrelid = 'checks'::regclass AND attnum > 0 AND NOT attisdropped AND NOT atthasdef ORDER BY 1";
    let mut columns: Vec<String> = COLUMNS
        .iter()
        .map(|column| {
            let null = if column.nullable { "" } else { " NOT NULL" };
            format!("{} {}{null}", column.name, sql_type(column))
        })
        .collect();
    columns.sort();
    assert_eq!(columns, list(&mut store, table).await);
    let key = "SELECT attname::text FROM pg_index, unnest(indkey) WITH ORDINALITY AS k (attnum, place) \
               JOIN pg_attribute a ON attrelid = 'checks'::regclass AND a.attnum = k.attnum \
               WHERE indrelid = attrelid AND indisprimary ORDER BY place";
    let first: Vec<&str> = COLUMNS[..3].iter().map(|column| column.name).collect();
    assert_eq!(first, list(&mut store, key).await, "the key stands first");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_begins_with_the_columns_of_the_original() {
    let mut store = store(&database()).await;
    let view = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'check_results'::regclass ORDER BY attnum";
    let columns = list(&mut store, view).await;
    assert_eq!(columns[..14].join(" "), ORIGINAL);
}

/// The address that did not connect and the last URL are null where nothing was amiss, and take no room then.
#[tokio::test(flavor = "multi_thread")]
async fn a_usual_row_is_no_longer_for_the_columns_that_it_does_not_need() {
    let mut store = store(&database()).await;
    let rows: Vec<Row> = (0..1000).map(|second| row("a", second)).collect();
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 1000)], now()).await.unwrap();
    execute(&mut store, "CREATE TABLE wide AS SELECT * FROM checks; CREATE TABLE narrow AS SELECT * FROM checks").await;
    // A column that was dropped is still counted.
    execute(&mut store, "ALTER TABLE narrow DROP COLUMN failed_addresses, DROP COLUMN final_url").await;
    execute(&mut store, "CREATE TABLE narrower AS SELECT * FROM narrow").await;
    let more = "SELECT pg_relation_size('wide') - pg_relation_size('narrower')";
    assert_eq!(count(&mut store, more).await, 0);
    let unused = "SELECT count(*) FROM checks WHERE failed_addresses IS NULL AND final_url IS NULL";
    assert_eq!(count(&mut store, unused).await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_failed_and_the_last_url_are_shown() {
    let mut store = store(&database()).await;
    let mut message: serde_json::Value =
        serde_json::from_slice(include_bytes!("../../../../shared/schema/golden/up.json")).unwrap();
    message["dns"]["failed_addresses"] =
        serde_json::json!([{"ip": "192.0.2.1", "detail": "no \"route\""}, {"ip": "::2", "detail": "é"}]);
    message["http"]["final_url"] = "https://example.net/login".into();
    let row = decode(Some(message.to_string().as_bytes()), now()).unwrap();
    store.write(&[row], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    let shown = "SELECT concat_ws('|', failed_addresses -> 0 ->> 'ip', failed_addresses -> 0 ->> 'detail', \
                 failed_addresses -> 1 ->> 'detail', http_final_url) FROM check_results";
    let shown: String = ask(&mut store, shown, &[]).await;
    assert_eq!(shown, "192.0.2.1|no \"route\"|é|https://example.net/login");
    message["dns"]["failed_addresses"][0]["detail"] = "\0".into();
    assert!(decode(Some(message.to_string().as_bytes()), now()).is_err(), "Postgres knows no NUL in JSON");
}

/// Every function of the schema, as a call with values that suit its parameters, and whether it shows results.
pub(super) async fn calls(store: &mut Store) -> Vec<(String, bool)> {
    let functions = "SELECT format('%s|%s|%s', proname, prorettype = 'check_results'::regtype, \
                     (SELECT string_agg(format_type(type, NULL), ',' ORDER BY place) FROM unnest(proargtypes) WITH ORDINALITY AS a (type, place))) \
                     FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY 1";
    let call = |line: &String| {
        let [name, shows, types] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        let mut times = ["'-infinity'", "now()"].into_iter();
        let values = types.split(',').filter(|name| !name.is_empty()).map(|name| match name {
            "text" => "'a'",
            "bigint" => "10",
            "date" => "'2020-01-01'",
            "timestamp with time zone" => times.next().unwrap(),
            other => panic!("{line}: give {other} a value"),
        });
        (format!("{name}({})", values.collect::<Vec<_>>().join(", ")), shows == "t")
    };
    list(store, functions).await.iter().map(call).collect()
}

/// Calls every function; those that show results show the one that is there.
pub(super) async fn every_function_works(store: &mut Store, column: &str, expected: &str) {
    let calls = calls(store).await;
    assert!(calls.len() >= 7 && calls.iter().filter(|(_, shows)| *shows).count() >= 2, "{calls:?}");
    for (call, shows) in calls {
        let value =
            if shows { format!("string_agg(DISTINCT {column}::text, ' ')") } else { "count(*)::text".to_owned() };
        let found: Option<String> = ask(store, &format!("SELECT {value} FROM {call}"), &[]).await;
        assert!(!shows || found.as_deref() == Some(expected), "{call}: {found:?}");
    }
}

/// Later migrations append a column to the table and to the view, while sessions have called the functions before.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_added_to_table_and_view_is_in_every_function() {
    let mut store = store(&database()).await;
    store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    every_function_works(&mut store, "target", "a").await;
    execute(&mut store, "ALTER TABLE checks ADD COLUMN later text DEFAULT 'new'").await;
    let view: String = ask(&mut store, "SELECT pg_get_viewdef('check_results'::regclass)", &[]).await;
    let (columns, tables) = view.split_once("FROM").unwrap();
    execute(&mut store, &format!("CREATE OR REPLACE VIEW check_results AS {columns}, c.later FROM {tables}")).await;
    every_function_works(&mut store, "later", "new").await;
    // As the consumer has it after a restart.
    let mut other = Store::new(store.settings.clone());
    every_function_works(&mut other, "later", "new").await;
    other.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 1, 2)], now()).await.unwrap();
    every_function_works(&mut store, "later", "new").await;
}
