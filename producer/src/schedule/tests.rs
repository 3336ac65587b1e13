use proptest::prelude::*;

use super::*;

const T0: i64 = 1_795_237_200_000;

fn rhythm(interval_millis: u64) -> Rhythm {
    Rhythm::new("example", Duration::from_millis(interval_millis))
}

/// A schedule that has nothing to catch up with.
fn caught_up(rhythm: Rhythm) -> Schedule {
    let mut schedule = Schedule::new(vec![rhythm], T0);
    while schedule.catch_up().is_some() {}
    schedule
}

fn drain(schedule: &mut Schedule, now: i64) -> Vec<(i64, Action)> {
    std::iter::from_fn(|| schedule.pop(now)).map(|due| (due.slot.as_millis(), due.action)).collect()
}

proptest! {
    #[test]
    fn slots_are_absolute(now in 0..4_000_000_000_000_i64, interval in 1_000..604_800_000_u64, name in ".{1,20}") {
        let rhythm = Rhythm::new(&name, Duration::from_millis(interval));
        let interval = i64::try_from(interval).unwrap();
        let slot = rhythm.latest(now);
        prop_assert!(slot <= now && now < slot + interval);
        // Whoever asks, whenever: the same slot until the next one comes.
        prop_assert_eq!(rhythm.latest(slot), slot);
        prop_assert_eq!(rhythm.latest(slot + interval - 1), slot);
        prop_assert_eq!(rhythm.latest(slot + interval), slot + interval);
        let between: Vec<i64> = rhythm.between(slot, slot + 2 * interval).collect();
        prop_assert_eq!(between, vec![slot, slot + interval, slot + 2 * interval]);
    }
}

/// The phase is a contract: every version and replica must agree on it.
#[test]
fn phases_do_not_change() {
    let table = [("example", 60_000), ("a", 1_000), ("ü", 300_000)];
    let phases: Vec<i64> =
        table.iter().map(|(name, interval)| Rhythm::new(name, Duration::from_millis(*interval)).phase).collect();
    assert_eq!(phases, [58_990, 575, 246_601]);
}

#[test]
fn targets_are_spread_over_the_interval() {
    let mut seconds = [0_u32; 60];
    for n in 0..6_000 {
        let phase = Rhythm::new(&format!("target-{n}"), Duration::from_secs(60)).phase;
        seconds[usize::try_from(phase / 1000).unwrap()] += 1;
    }
    assert!(seconds.iter().all(|count| (50..=160).contains(count)), "{seconds:?}");
}

#[test]
fn begins_with_the_latest_slot_and_goes_on_without_gaps() {
    let rhythm = rhythm(10_000);
    let mut schedule = Schedule::new(vec![rhythm], T0);
    let first = rhythm.latest(T0);
    assert_eq!(drain(&mut schedule, T0), []);
    assert!(schedule.is_behind());
    assert_eq!(schedule.catch_up().map(|due| (due.slot.as_millis(), due.action)), Some((first, Action::CatchUp)));
    assert!(!schedule.is_behind());
    for n in 1..5 {
        let slot = first + n * 10_000;
        assert_eq!(schedule.next_at(), Some(slot));
        assert_eq!(drain(&mut schedule, slot - 1), []);
        assert_eq!(drain(&mut schedule, slot + 3), [(slot, Action::Check)]);
    }
}

#[test]
fn slots_that_were_slept_through_are_missed_but_for_the_last() {
    let rhythm = rhythm(10_000);
    let mut schedule = caught_up(rhythm);
    let first = rhythm.latest(T0);
    let slept = drain(&mut schedule, first + 35_000);
    let expected = [Action::Missed, Action::Missed, Action::Check];
    assert_eq!(slept, expected.iter().zip(1..).map(|(action, n)| (first + n * 10_000, *action)).collect::<Vec<_>>());
}

#[test]
fn a_long_sleep_is_filled_for_an_hour_only() {
    let rhythm = rhythm(60_000);
    let mut schedule = caught_up(rhythm);
    let woke = T0 + 48 * 3_600_000;
    let slots = drain(&mut schedule, woke);
    assert_eq!(slots.first().map(|(slot, _)| *slot), Some(rhythm.latest(woke - CATCH_UP_MILLIS)));
    assert_eq!(slots.len(), 61);
    assert_eq!(slots.last(), Some(&(rhythm.latest(woke), Action::Check)));
}

#[test]
fn a_clock_set_back_does_not_silence_the_schedule() {
    let rhythm = rhythm(10_000);
    let mut schedule = caught_up(rhythm);
    let back = T0 - 3_600_000;
    schedule.resume_after(back);
    assert_eq!(schedule.next_at(), Some(rhythm.latest(back) + 10_000));
}

#[test]
fn a_catch_up_slot_may_wait_until_its_next_slot_comes() {
    let rhythm = rhythm(10_000);
    let mut schedule = Schedule::new(vec![rhythm], T0);
    let next = rhythm.latest(T0) + 10_000;
    assert_eq!(drain(&mut schedule, next - 1), []);
    assert_eq!(
        drain(&mut schedule, next + 5),
        [(next, Action::Check), (rhythm.latest(T0), Action::LeftBehind)],
        "too late now, and no second row of slots has begun"
    );
    assert!(!schedule.is_behind());
}

#[test]
fn those_catch_up_first_whose_next_slot_comes_first() {
    let rhythms: Vec<Rhythm> = [300_000, 1_000, 60_000, 5_000].map(rhythm).to_vec();
    let mut schedule = Schedule::new(rhythms.clone(), T0);
    let order: Vec<usize> = std::iter::from_fn(|| schedule.catch_up()).map(|due| due.target).collect();
    let next: Vec<i64> = order.iter().map(|target| rhythms[*target].latest(T0) + rhythms[*target].interval).collect();
    assert_eq!(order.len(), 4);
    assert!(next.is_sorted(), "{order:?} {next:?}");
    assert_ne!(order, [0, 1, 2, 3]);
}

/// What is due now goes before what was due at the start.
#[test]
fn a_crowd_from_before_the_start_holds_nobody_up() {
    let rhythms: Vec<Rhythm> = (0..1000).map(|n| Rhythm::new(&format!("t{n}"), Duration::from_secs(10))).collect();
    let mut schedule = Schedule::new(rhythms, T0);
    let due = drain(&mut schedule, T0 + 5_000);
    assert!((800..1200).contains(&due.len()), "{}", due.len());
    let late = due.iter().position(|(_, action)| *action == Action::LeftBehind).unwrap();
    assert!(due[..late].iter().all(|(slot, action)| *slot > T0 && *action == Action::Check));
    assert!(due[late..].iter().all(|(slot, action)| *slot <= T0 && *action == Action::LeftBehind));
}

/// Two targets that stay, of which one has a slot to catch up with; one that goes; one that comes.
#[test]
fn who_is_kept_goes_on_and_who_comes_begins_with_its_latest_slot() {
    let name = |name: &str| Rhythm::new(name, Duration::from_secs(10));
    let [gone, caught_up, behind, new] = ["gone", "caught up", "behind", "new"].map(name);
    let mut schedule = Schedule::new(vec![gone, caught_up], T0);
    while schedule.catch_up().is_some() {}
    schedule.change(vec![caught_up, behind], &[Some(1), None], T0);
    // A moment later, before there was room for the one that waits.
    let later = T0 + 4_000;
    schedule.change(vec![new, behind, caught_up], &[None, Some(1), Some(0)], later);
    let mut waiting: Vec<_> =
        std::iter::from_fn(|| schedule.catch_up()).map(|due| (due.target, due.slot.as_millis())).collect();
    waiting.sort_unstable();
    assert_eq!(waiting, [(0, new.latest(later)), (1, behind.latest(T0))]);
    let mut due: Vec<_> =
        std::iter::from_fn(|| schedule.pop(T0 + 10_000)).map(|due| (due.target, due.slot.as_millis())).collect();
    due.sort_unstable();
    // Those that were due before the second change and were kept are still due; the new one owes none from before it came.
    let slots = |target, rhythm: Rhythm, from| rhythm.between(from + 1, T0 + 10_000).map(move |slot| (target, slot));
    let expected: Vec<_> = slots(0, new, later).chain(slots(1, behind, T0)).chain(slots(2, caught_up, T0)).collect();
    assert_eq!(due, expected);
}
