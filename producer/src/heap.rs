//! What a heap keeps that nobody uses.

/// Gives free memory back to the system, where the C library is one that keeps it (glibc): reading many targets takes several times
/// what the targets take, and a heap that has once been so large is not trimmed by itself.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library offers it to C only")]
    // SAFETY: it may be called at any time from any thread, and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
