//! What the commands print.

use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;

/// Writes `text` to standard output, a short one in one piece. Whoever reads may have seen enough before the end: then it is over, which
/// is no error.
///
/// # Errors
/// Standard output takes nothing more, but not because nobody reads it.
pub fn print(text: &str) -> io::Result<ControlFlow<()>> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error),
    }
}
