//! Reading a body.

use reqwest::Response;
use shared::message::{FailureClass, Phase};

use super::exchange::root_cause;
use super::{Broken, Check, Probe};

impl Probe {
    /// Reads the body up to its bound, and keeps it if someone is going to look into it.
    pub(super) async fn read(&self, mut response: Response, keep: bool, check: &mut Check) -> Result<(), Broken> {
        check.http.body_bytes = Some(0);
        let mut read = 0;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = self.max_body_bytes - read;
                    let wanted = &chunk[..chunk.len().min(room)];
                    if keep {
                        check.body.extend_from_slice(wanted);
                    }
                    read += wanted.len();
                    check.http.body_bytes = Some(read as u64);
                    if chunk.len() > room {
                        check.body_cut = true;
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let detail = format!("body broke off after {read} bytes: {}", root_cause(&error));
                    return Err(Broken::theirs(FailureClass::PartialResponse, Phase::Transfer, detail));
                }
            }
        }
        check.trace.body_ended();
        Ok(())
    }
}
