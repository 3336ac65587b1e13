//! Telling our own inability from a site's.

use std::io;

/// Why this machine could not even try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    /// No descriptors, ports, buffers or permission: nothing else can be tried either.
    Exhausted,
    /// No way to this address. There may be one to another.
    NoRoute,
}

/// Whether an error means that this machine could not even try, and why.
pub(super) fn ours(error: &io::Error) -> Option<Ours> {
    const EPERM: i32 = 1;
    const ENOMEM: i32 = 12;
    const EACCES: i32 = 13;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EAFNOSUPPORT: i32 = 97;
    const EADDRINUSE: i32 = 98;
    const EADDRNOTAVAIL: i32 = 99;
    const ENETDOWN: i32 = 100;
    const ENETUNREACH: i32 = 101;
    const ENOBUFS: i32 = 105;
    match error.raw_os_error()? {
        EPERM | ENOMEM | EACCES | ENFILE | EMFILE | EADDRINUSE | ENOBUFS => Some(Ours::Exhausted),
        EAFNOSUPPORT | EADDRNOTAVAIL | ENETDOWN | ENETUNREACH => Some(Ours::NoRoute),
        _ => None,
    }
}
