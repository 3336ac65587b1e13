//! Reading a body: decoded, as text, no more of it than is wanted, and with room for it in memory.

mod charset;
mod codings;
mod gzip;

use bytes::Bytes;
use encoding_rs::Decoder;
use reqwest::Response;
use shared::message::{FailureClass, Phase};

use self::charset::{LOOKED_AT, Said};
pub(super) use self::codings::ACCEPTED;
use self::codings::Codings;
use super::memory::Share;
use super::words::root_cause;
use super::{Broken, Check, Probe};

/// How many pieces of a body are decoded before others have their turn.
const PIECES_AT_ONCE: usize = 8;

/// The text of a body, as far as it has been read, and the share of memory that it takes.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Vec<u8>,
    share: Share,
    /// As many bytes as there will be, if they stay as they are.
    most: usize,
    /// What becomes of the bytes, once enough have come to tell.
    turned: Option<Option<Decoder>>,
}

impl Text {
    pub(super) fn new(share: Share, most: usize) -> Self {
        Self { bytes: Vec::new(), share, most, turned: None }
    }

    /// The bytes that a pattern is searched in.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The share of memory.
    pub(super) fn share(&mut self) -> &mut Share {
        &mut self.share
    }

    /// Takes bytes of the body.
    fn push(&mut self, said: Said, bytes: &[u8]) -> Result<(), Broken> {
        match &mut self.turned {
            Some(Some(_)) => self.decode(bytes, false),
            Some(None) => self.keep(bytes),
            None => {
                let (start, rest) = bytes.split_at(bytes.len().min(LOOKED_AT - self.bytes.len()));
                self.make_room(bytes.len())?;
                self.keep(start)?;
                if self.bytes.len() < LOOKED_AT {
                    return Ok(());
                }
                self.decide(said)?;
                self.push(said, rest)
            }
        }
    }

    fn decide(&mut self, said: Said) -> Result<(), Broken> {
        let (decoder, mark) = said.decide(&self.bytes[..self.bytes.len().min(LOOKED_AT)]);
        let encoded = decoder.is_some();
        self.turned = Some(decoder);
        if encoded {
            let start = std::mem::take(&mut self.bytes);
            return self.decode(&start[mark..], false);
        }
        self.bytes.drain(..mark);
        Ok(())
    }

    /// No more bytes come.
    fn end(&mut self, said: Said) -> Result<(), Broken> {
        if self.turned.is_none() {
            self.decide(said)?;
        }
        self.decode(&[], true)
    }

    fn decode(&mut self, bytes: &[u8], last: bool) -> Result<(), Broken> {
        let Some(Some(mut decoder)) = self.turned.take() else {
            self.turned = Some(None);
            return Ok(());
        };
        let end = charset::decode(&mut decoder, bytes, last, |text| self.keep(text));
        // Once it has ended, a decoder takes no more.
        self.turned = Some((!last).then_some(decoder));
        end
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.make_room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What is counted is what is taken, not what is filled.
    fn make_room(&mut self, bytes: usize) -> Result<(), Broken> {
        let (needed, capacity) = (self.bytes.len() + bytes, self.bytes.capacity());
        if needed > capacity {
            let wanted = needed.max(self.most.min(2 * capacity));
            self.share.grow(wanted - capacity)?;
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        Ok(())
    }
}

/// A body that is being read.
struct Reader {
    codings: Codings,
    said: Said,
    keep: bool,
    most: usize,
    /// Bytes from the wire, and what they were decoded to.
    came: usize,
    read: usize,
    /// What is paid for: of the connection's buffer, and of the decoders.
    buffered: usize,
    decoders: usize,
}

impl Probe {
    /// Reads the body up to its bound, and keeps it if someone is going to look into it.
    pub(super) async fn read(&self, mut response: Response, keep: bool, check: &mut Check) -> Result<(), Broken> {
        check.http.body_bytes = Some(0);
        let (codings, said) = (Codings::of(response.headers()), Said::of(response.headers()));
        check.undecoded.clone_from(&codings.unknown);
        let most = self.max_body_bytes;
        let mut reader = Reader { codings, said, keep, most, came: 0, read: 0, buffered: 0, decoders: 0 };
        while !check.body_cut {
            match response.chunk().await {
                Ok(Some(chunk)) => reader.take(chunk, check).await?,
                Ok(None) => break,
                Err(error) => {
                    let detail = format!("body broke off after {} bytes: {}", reader.read, root_cause(&error));
                    reader.end(check)?;
                    return Err(Broken::theirs(FailureClass::PartialResponse, Phase::Transfer, detail));
                }
            }
        }
        reader.end(check)?;
        if let Some(name) = reader.codings.cut().filter(|_| !check.body_cut) {
            let detail = format!("body ended after {} bytes, before the end of its coding {name}", reader.read);
            return Err(Broken::theirs(FailureClass::PartialResponse, Phase::Transfer, detail));
        }
        check.trace.body_ended();
        Ok(())
    }
}

impl Reader {
    /// Takes bytes from the wire.
    async fn take(&mut self, chunk: Bytes, check: &mut Check) -> Result<(), Broken> {
        self.came += chunk.len();
        self.pay(chunk.len(), check)?;
        if self.codings.is_empty() {
            return self.decoded(&chunk, check);
        }
        // Bytes that decode to nothing do not go on for ever either.
        let endless = self.came > self.most;
        self.codings.feed(chunk);
        for piece in 1.. {
            // A few bytes may become many: others have their turn in between.
            if piece % PIECES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            if check.body_cut {
                break;
            }
            let corrupt = |name: &str| {
                let detail = format!("body is said to be in the coding {name} and is not, after {} bytes", self.read);
                Broken::theirs(FailureClass::Content, Phase::Transfer, detail)
            };
            let Some(piece) = self.codings.next_piece().map_err(corrupt)? else { break };
            self.pay(0, check)?;
            self.decoded(&piece, check)?;
        }
        check.body_cut |= endless;
        Ok(())
    }

    /// Takes decoded bytes, as many as are wanted.
    fn decoded(&mut self, bytes: &[u8], check: &mut Check) -> Result<(), Broken> {
        let room = self.most - self.read;
        let wanted = &bytes[..bytes.len().min(room)];
        if self.keep {
            check.text.push(self.said, wanted)?;
        }
        self.read += wanted.len();
        check.http.body_bytes = Some(self.read as u64);
        check.body_cut |= bytes.len() > room;
        Ok(())
    }

    /// Finds room for what is held beside the text. A connection's buffer is about as large as the largest piece that came from it.
    fn pay(&mut self, chunk: usize, check: &mut Check) -> Result<(), Broken> {
        let buffered = self.buffered.max(chunk.next_power_of_two());
        let decoders = self.decoders.max(self.codings.held());
        let share = check.text.share();
        share.grow(buffered - self.buffered + decoders - self.decoders)?;
        (self.buffered, self.decoders) = (buffered, decoders);
        Ok(())
    }

    fn end(&self, check: &mut Check) -> Result<(), Broken> {
        if self.keep { check.text.end(self.said) } else { Ok(()) }
    }
}
