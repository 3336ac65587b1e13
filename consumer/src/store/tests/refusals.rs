//! What is about a row, what is about a day, and what is about neither.

use super::*;

/// A trigger on a table that does this for what is called `odd`.
fn trigger(table: &str, does: &str) -> String {
    let of = if table == "checks" { "(SELECT name FROM targets WHERE id = NEW.target_id)" } else { "NEW.name" };
    format!(
        "CREATE TABLE audit (id integer PRIMARY KEY, note text NOT NULL, amount integer); INSERT INTO audit VALUES (1, 'x'); \
         CREATE DOMAIN small AS integer CONSTRAINT is_small CHECK (VALUE < 10); \
         CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE n small; BEGIN \
         IF {of} = 'odd' THEN {does}; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER picky BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION picky()"
    )
}

fn mixed() -> Vec<Row> {
    let name = |second: i64| if second == 3 || second == 8 { "odd" } else { "even" };
    (0..12).map(|second| row(name(second), second)).collect()
}

/// Stores what can be stored, and says which rows that leaves.
async fn store_rest(store: &mut Store, rows: &[Row]) -> Vec<usize> {
    let moves = [step(0, 0, 20)];
    let written = store.write(rows, &Ahead::default(), &topic(), &moves, now()).await.unwrap_err();
    assert!(written.may_be_of_a_row(), "{written:?}");
    let refused = store.refused(rows, now()).await.unwrap();
    let refused: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
    let rest = rows.iter().enumerate().filter(|(index, _)| !refused.contains(index)).map(|(_, row)| row.clone());
    store.write(&rest.collect::<Vec<Row>>(), &Ahead::default(), &topic(), &moves, now()).await.unwrap();
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_refuses_is_found_whatever_it_is_refused_with() {
    let table = [
        "RAISE EXCEPTION 'no'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'SW001'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'insufficient_privilege'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'unique_violation', CONSTRAINT = 'checks_pkey'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'query_canceled'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'lock_not_available'",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'disk_full'",
        "ASSERT false",
        "n := 11",
        "n := 1 / 0",
        "n := 'x'",
        "INSERT INTO audit VALUES (1, 'x')",
        "INSERT INTO audit VALUES (2, NULL)",
        "INSERT INTO missing VALUES (1)",
        "PERFORM missing()",
        "SELECT id INTO STRICT n FROM audit WHERE id = 7",
        "PERFORM currval('targets_id_seq') FROM nextval('nowhere')",
    ];
    for (on, table) in [("checks", &table[..]), ("targets", &table[9..13])] {
        for does in table {
            let mut store = store(&database()).await;
            execute(&mut store, &trigger(on, does)).await;
            assert_eq!(store_rest(&mut store, &mixed()).await, [3, 8], "{does} on {on}");
            assert_eq!(count(&mut store, "SELECT count(*) FROM checks").await, 10, "{does} on {on}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_at_the_commit_is_found() {
    let mut store = store(&database()).await;
    execute(&mut store, &trigger("checks", "RAISE EXCEPTION 'no'")).await;
    let deferred = "DROP TRIGGER picky ON checks; CREATE CONSTRAINT TRIGGER picky AFTER INSERT ON checks \
                    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION picky()";
    execute(&mut store, deferred).await;
    assert_eq!(store_rest(&mut store, &mixed()).await, [3, 8]);
}

/// Where code in the database fails for each row, it is the code: nothing of it is about a row, and a person is needed.
#[tokio::test(flavor = "multi_thread")]
async fn code_that_fails_for_all_rows_is_no_fault_of_theirs() {
    let mut store = store(&database()).await;
    execute(&mut store, &trigger("checks", "INSERT INTO missing VALUES (1)").replace("= 'odd'", "<> ''")).await;
    let rows: Vec<Row> = (0..100).map(|second| row("a", second)).collect();
    let written = store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 100)], now()).await;
    assert!(matches!(written, Err(StoreError::Suspect(_))), "{written:?}");
    let refused = store.refused(&rows, now()).await;
    assert!(matches!(&refused, Err(StoreError::Denied(text)) if text.contains("\"missing\"")), "{refused:?}");
}

/// A lookup that gives no id says which, and is about the row if others have ids.
#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_without_an_answer_names_table_and_name() {
    for (table, named) in [("targets", "odd"), ("locations", "odd place")] {
        let mut store = store(&database()).await;
        let swallow = trigger(table, "RETURN NULL").replace("= 'odd'", &format!("= '{named}'"));
        execute(&mut store, &swallow).await;
        let mut rows = mixed();
        rows.iter_mut().filter(|row| row.target == "odd").for_each(|row| row.location = "odd place".to_owned());
        let refused = store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 12)], now()).await.unwrap_err();
        let expected = format!("table `{table}` gives no id for {named:?}");
        assert!(refused.to_string().contains(&expected), "{refused}");
        assert_eq!(store_rest(&mut store, &rows).await, [3, 8]);
    }
    let mut store = store(&database()).await;
    execute(&mut store, &trigger("requests", "RETURN NULL").replace("NEW.name = 'odd'", "true")).await;
    let refused = store.write(&mixed(), &Ahead::default(), &topic(), &[step(0, 0, 12)], now()).await;
    assert!(matches!(&refused, Err(StoreError::Denied(text)) if text.contains("`requests`")), "{refused:?}");
}
