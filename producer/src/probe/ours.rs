//! Telling our own inability from a site's.

use std::io;

/// Whether an error means that this machine could not even try: no descriptors, ports, buffers, permission or route.
pub(super) fn is_ours(error: &io::Error) -> bool {
    const EPERM: i32 = 1;
    const ENOMEM: i32 = 12;
    const EACCES: i32 = 13;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENETDOWN: i32 = 100;
    const ENETUNREACH: i32 = 101;
    const ENOBUFS: i32 = 105;
    matches!(
        error.raw_os_error(),
        Some(EPERM | ENOMEM | EACCES | ENFILE | EMFILE | EADDRNOTAVAIL | ENETDOWN | ENETUNREACH | ENOBUFS)
    )
}
