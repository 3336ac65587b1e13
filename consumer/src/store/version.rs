//! Which server this is. Pure.

use super::error::StoreError;

/// The oldest major version that has all that the migrations use.
const OLDEST: u32 = 14;

/// Refuses a server that is too old, by what it says of its version; what says nothing of the kind is tried.
pub(super) fn check(said: Option<&str>) -> Result<(), StoreError> {
    let Some(said) = said else { return Ok(()) };
    let digits = said.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(major) if major < OLDEST => {
            // Behind the number there may be the name of a package.
            let number = said.split_whitespace().next().unwrap_or(said);
            Err(StoreError::Denied(format!("PostgreSQL {OLDEST} or later is needed, this is {number}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused() {
        let table = [
            (Some("13.23"), Some("this is 13.23")),
            (Some("13.23 (Debian 13.23-1.pgdg12+1)"), Some("this is 13.23")),
            (Some("9.6.24"), Some("this is 9.6.24")),
            (Some("10beta1"), Some("this is 10beta1")),
            (Some("14.0"), None),
            (Some("15.13 (Debian 15.13-0+deb12u1)"), None),
            (Some("18beta2"), None),
            (Some("100.1"), None),
            (Some("unknown"), None),
            (Some(""), None),
            (None, None),
        ];
        for (said, expected) in table {
            let found = check(said).err().map(|error| error.to_string());
            let is_so = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains("PostgreSQL 14 or later") && found.ends_with(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_so, "{said:?}: {found:?}");
        }
    }
}
