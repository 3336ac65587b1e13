//! How many descriptors the process may have: each check takes up to two.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to what the system allows. Shells and container runtimes begin with 1,024, for the sake of old programs that
/// cannot count further.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it cannot be raised, checks beyond the limit are unmeasured, and their rows say why.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
