//! What the commands print.

use std::io::{self, ErrorKind, Write as _};

/// Writes `text` to standard output, a short one in one piece. Returns whether anybody still reads: to have seen enough before the end is
/// no error.
///
/// # Errors
/// Standard output takes nothing more, but not because nobody reads it.
pub fn print(text: impl AsRef<[u8]>) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}
