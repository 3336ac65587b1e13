//! What numbers may be.

use std::ops::RangeInclusive;

use super::Fault;

/// A key that is a number, its value, and what it may be. The chart's schema says the same.
pub type Number = (&'static str, i64, RangeInclusive<i64>);

/// Refuses the first number that is outside of its range.
///
/// # Errors
/// The key, the range and the value.
pub fn check_numbers(numbers: &[Number]) -> Result<(), Fault> {
    let wrong = numbers.iter().find(|(_, value, range)| !range.contains(value));
    wrong.map_or(Ok(()), |(key, value, range)| {
        Err(Fault::new(*key, format!("expected a number from {} to {}, found {value}", range.start(), range.end())))
    })
}

/// A count as such a number.
pub fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
