//! What a heap keeps that nobody uses: reading many targets takes several times what the targets take. Only the C library that keeps
//! it (glibc) has to be told.

/// Lets a heap give back to the system what is free at its end. To be called before anything is read: glibc takes the largest block
/// that it has seen freed for a measure of how much may stay free.
pub fn stay_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library offers it to C only")]
    // SAFETY: it sets a number that any allocation may find changed.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
    }
}

/// Gives free memory back to the system from within the heap, too.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library offers it to C only")]
    // SAFETY: it may be called at any time from any thread, and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
