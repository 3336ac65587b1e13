//! What is due and not there, by tables of slots.

use shared::message::State;

use super::*;

/// Long past, for slots to come are not due; a minute before midnight, so that slots lie in two days' tables.
const BEGIN: &str = "2024-03-30T23:59:00Z";

fn at(second: i64) -> Timestamp {
    BEGIN.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second)
}

/// Rows of a target as `slot/interval+lateness` in seconds, the interval `-` where the message has none.
fn rows(target: &str, text: &str) -> Vec<Row> {
    let parse = |word: &str| {
        let (slot, rest) = word.split_once('/').unwrap();
        let (interval, lateness) = rest.split_once('+').unwrap_or((rest, "0"));
        let mut row = row(target, 0);
        row.scheduled_at = at(slot.parse().unwrap());
        row.lateness = lateness.parse::<i64>().unwrap() * 1_000_000;
        row.request.interval_ms = interval.parse::<i64>().ok().map(|seconds| seconds * 1000);
        row
    };
    text.split_whitespace().map(parse).collect()
}

async fn stored(rows: &[Row]) -> Store {
    let mut store = store(&database()).await;
    let moved = i64::try_from(rows.len()).unwrap();
    let stored = store.write(rows, &Ahead::default(), &topic(), &[step(0, 0, moved)], now()).await.unwrap();
    assert_eq!(stored.duplicates, 0);
    store
}

/// What is wanted, rows, window, and the runs of slots that are absent.
type Case<'a> = (&'a str, &'a str, (i64, i64), &'a str);

const GAPS: [Case<'_>; 25] = [
    ("nothing is absent", "0/5 5/5 10/5", (0, 15), ""),
    ("in the middle", "0/5 5/5 20/5", (0, 25), "10-15=2"),
    ("one only", "0/5 10/5", (0, 15), "5-5=1"),
    ("two runs", "0/5 10/5 15/5 30/5", (0, 35), "5-5=1 20-25=2"),
    ("across midnight", "50/5 75/5", (50, 80), "55-70=4"),
    ("after the last row, the end excluded", "0/5 5/5", (0, 20), "10-15=2"),
    ("after the last row, the end just beyond a slot", "0/5 5/5", (0, 21), "10-20=3"),
    ("before the first row, counted from the row before", "0/5 30/5", (12, 31), "15-25=3"),
    ("before the first row, the begin included", "0/5 30/5", (15, 31), "15-25=3"),
    ("nothing between the begin and the first row", "0/5 30/5", (26, 31), ""),
    ("the whole window, with rows around it", "0/5 100/5", (20, 40), "20-35=4"),
    ("the whole window, with no later row", "0/5", (20, 40), "20-35=4"),
    ("a target that was never seen before", "50/5 55/5", (0, 60), ""),
    ("a target that is seen later only", "50/5", (0, 40), ""),
    ("an empty window", "0/5 30/5", (20, 20), ""),
    ("another rhythm at once", "0/5 5/5 7/3 10/3 13/3", (0, 15), ""),
    ("another rhythm after an outage", "0/5 5/5 22/3 25/3", (0, 26), "10-20=3"),
    ("an outage before and after another rhythm", "0/5 15/5 17/3 26/3", (0, 28), "5-10=2 20-23=2"),
    ("a slower rhythm, whose latest slot is a row", "45/20+13 51/3 54/3 57/3 65/20", (50, 70), ""),
    ("a slower rhythm after an outage", "45/20+19 51/3 54/3 57/3 65/20", (50, 70), "60-63=2"),
    ("a slower rhythm, whose latest slot was a row", "57/3 60/3 63/3 80/20", (57, 85), ""),
    ("a slower rhythm, seen after the window only", "57/3 60/3 63/3 80/20", (57, 75), ""),
    ("back to the slower rhythm that was before", "40/20 60/20 66/3 69/3 80/20", (40, 85), ""),
    ("no interval", "0/- 5/- 20/-", (0, 30), ""),
    ("no interval at first", "0/- 20/5 35/5", (0, 36), "25-30=2"),
];

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_the_slots_without_a_row() {
    let all: Vec<Row> = GAPS.iter().flat_map(|(name, text, ..)| rows(name, text)).collect();
    let mut store = stored(&all).await;
    for (name, text, (since, until), expected) in GAPS {
        let gaps: String = ask(
            &mut store,
            "SELECT coalesce(string_agg(concat(extract(epoch FROM first_slot - $3)::int, '-', \
             extract(epoch FROM last_slot - $3)::int, '=', slots), ' ' ORDER BY first_slot), '') \
             FROM slot_gaps($1, $2) WHERE target = $4",
            &[&at(since), &at(until), &at(0), &name],
        )
        .await;
        assert_eq!(gaps, expected, "{name}: {text} in {since}..{until}");
    }
}

/// Lines of an account as `target location due=stored(up/down/missed/unmeasured)+absent`.
async fn account(store: &mut Store, since: Timestamp, until: Timestamp) -> String {
    ask(
        store,
        "SELECT coalesce(string_agg(format('%s %s %s=%s(%s/%s/%s/%s)+%s', target, location, due, stored, up, down, missed, \
         unmeasured, coalesce(absent::text, '?')), ', '), '') FROM slot_account($1, $2)",
        &[&since, &until],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_adds_up_for_each_target_and_location() {
    let mut all = rows("a", "0/5 5/5 10/5 15/5 30/5");
    for (row, state) in all.iter_mut().zip([State::Up, State::Down, State::Missed, State::Unmeasured, State::Up]) {
        row.state = state;
    }
    let mut elsewhere = rows("a", "10/10 40/10");
    elsewhere.iter_mut().for_each(|row| row.location = "far".to_owned());
    all.extend(elsewhere);
    all.extend(rows("b", "0/5"));
    all.extend(rows("c", "0/- 20/-"));
    let mut store = stored(&all).await;
    let whole = account(&mut store, at(0), at(35)).await;
    assert_eq!(whole, "a far 3=1(1/0/0/0)+2, a local 7=5(2/1/1/1)+2, b local 7=1(1/0/0/0)+6, c local 2=2(2/0/0/0)+?");
    let later = account(&mut store, at(12), at(30)).await;
    assert_eq!(
        later, "a far 1=0(0/0/0/0)+1, a local 3=1(0/0/0/1)+2, b local 3=0(0/0/0/0)+3, c local 1=1(1/0/0/0)+?",
        "due slots are 20; 15, 20, 25; 15, 20, 25; and what is there"
    );
}

/// Two windows that touch have every slot of the one that holds both, and none twice.
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_touch_add_up() {
    let all: Vec<Row> = GAPS.iter().flat_map(|(name, text, ..)| rows(name, text)).collect();
    let mut store = stored(&all).await;
    for middle in [1, 5, 20, 60, 63, 77] {
        let differ: String = ask(
            &mut store,
            "SELECT coalesce(string_agg(target, ', '), '') FROM ( \
                SELECT target FROM ( \
                    SELECT target, due, absent FROM slot_account($1, $3) UNION ALL \
                    SELECT target, -due, -absent FROM slot_account($1, $2) UNION ALL \
                    SELECT target, -due, -absent FROM slot_account($2, $3) \
                ) parts GROUP BY target HAVING sum(due) <> 0 OR sum(absent) <> 0 \
             ) targets",
            &[&at(0), &at(middle), &at(100)],
        )
        .await;
        assert_eq!(differ, "", "parted at {middle}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_to_come_are_not_due() {
    let present = Timestamp::now();
    let mut row = row("a", 0);
    row.scheduled_at = present - jiff::SignedDuration::from_mins(90);
    row.request.interval_ms = Some(3_600_000);
    let mut store = stored(&[row]).await;
    let hours = jiff::SignedDuration::from_hours(5);
    assert_eq!(account(&mut store, present - hours, present + hours).await, "a local 2=1(1/0/0/0)+1");
}
