//! The codings of a body (RFC 9110, section 8.4), undone a piece at a time.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::gzip::Gzip;

/// What a site is told that we can decode.
pub(in super::super) const ACCEPTED: &str = "gzip, deflate, br, zstd";
/// No more than so many codings on top of each other, as in curl.
const MOST: usize = 5;
/// How much is decoded at a time.
const PIECE: usize = 16 << 10;
/// What a decoder takes beside its window: its state, and a piece.
const STATE_BYTES: usize = 64 << 10;
/// The largest window that zstd may have on the web (RFC 9659), as a power of two.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The bytes are not in the coding that they are said to be in.
#[derive(Debug, PartialEq)]
pub(super) struct Corrupt;

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

enum Coding {
    Gzip(Gzip),
    Deflate(Deflate),
    Brotli { state: Box<Brotli>, ended: bool },
    Zstd { context: DCtx<'static>, between: bool },
}

/// The coding `deflate`: with the frame of zlib, as the standard has it, or without, as some servers have it.
#[derive(Default)]
struct Deflate {
    first: Option<u8>,
    inflate: Option<Decompress>,
    ended: bool,
}

/// One coding, and what it has still to decode.
struct Stage {
    name: &'static str,
    coding: Coding,
    input: Bytes,
    /// Whether the last piece was full, so that more of it may come without further input.
    more: bool,
    begun: bool,
}

/// All codings of a body, the outermost first.
#[derive(Default)]
pub(super) struct Codings {
    stages: Vec<Stage>,
    /// A coding that we do not know: from there on bytes stay as they are.
    pub(super) unknown: Option<String>,
}

impl Codings {
    /// The codings that a response names.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut codings = Self::default();
        let values: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.as_bytes()).collect();
        let values = String::from_utf8_lossy(&values.join(&b","[..])).to_ascii_lowercase();
        for name in values.rsplit(',').map(str::trim).filter(|name| !matches!(*name, "" | "identity")) {
            match Coding::named(name).filter(|_| codings.stages.len() < MOST) {
                Some((name, coding)) => {
                    codings.stages.push(Stage { name, coding, input: Bytes::new(), more: false, begun: false });
                }
                None => {
                    codings.unknown = Some(name.chars().take(50).collect());
                    break;
                }
            }
        }
        codings
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Takes bytes from the wire.
    pub(super) fn feed(&mut self, chunk: Bytes) {
        if let Some(first) = self.stages.first_mut() {
            first.input = chunk;
        }
    }

    /// Decodes the next piece; nothing when all that was fed is decoded. Also a piece without bytes may have others after it.
    ///
    /// # Errors
    /// The name of the coding that the bytes are not in.
    pub(super) fn next_piece(&mut self) -> Result<Option<Bytes>, &'static str> {
        // What is decoded already comes first, so that no more than a piece of each coding is ever held.
        let Some(index) = self.stages.iter().rposition(|stage| stage.more || !stage.input.is_empty()) else {
            return Ok(None);
        };
        let stage = &mut self.stages[index];
        let piece = stage.step().map_err(|Corrupt| stage.name)?;
        match self.stages.get_mut(index + 1) {
            None => Ok(Some(piece)),
            Some(next) => {
                next.input = piece;
                Ok(Some(Bytes::new()))
            }
        }
    }

    /// The coding that ends before its end, if one does.
    pub(super) fn cut(&self) -> Option<&'static str> {
        self.stages.iter().find(|stage| !stage.may_end()).map(|stage| stage.name)
    }

    /// What decoding holds in memory, in bytes.
    pub(super) fn held(&self) -> usize {
        self.stages.iter().map(|stage| stage.coding.held()).sum()
    }
}

impl Stage {
    fn step(&mut self) -> Result<Bytes, Corrupt> {
        self.begun |= !self.input.is_empty();
        let mut output = Vec::with_capacity(PIECE);
        let taken = self.coding.step(&self.input, &mut output)?;
        if taken == 0 && output.is_empty() && !self.input.is_empty() {
            // It will never go on.
            return Err(Corrupt);
        }
        self.input = self.input.split_off(taken.min(self.input.len()));
        self.more = output.len() == output.capacity();
        Ok(output.into())
    }

    fn may_end(&self) -> bool {
        !self.begun
            || match &self.coding {
                Coding::Gzip(gzip) => gzip.may_end(),
                Coding::Deflate(deflate) => deflate.ended,
                Coding::Brotli { ended, .. } => *ended,
                Coding::Zstd { between, .. } => *between,
            }
    }
}

impl Coding {
    fn named(name: &str) -> Option<(&'static str, Self)> {
        let alloc = StandardAlloc::default;
        Some(match name {
            "gzip" | "x-gzip" => ("gzip", Self::Gzip(Gzip::new())),
            "deflate" => ("deflate", Self::Deflate(Deflate::default())),
            "br" => {
                let state = Box::new(BrotliState::new_strict(alloc(), alloc(), alloc()));
                ("br", Self::Brotli { state, ended: false })
            }
            "zstd" => {
                let mut context = DCtx::try_create()?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                ("zstd", Self::Zstd { context, between: false })
            }
            _ => return None,
        })
    }

    /// Decodes into what room there is, and says how many bytes it took.
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Corrupt> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Deflate(deflate) => deflate.step(input, output),
            Self::Brotli { ended: true, .. } => Ok(input.len()),
            Self::Brotli { state, ended } => {
                let (mut left, mut taken, mut written, mut total) = (input.len(), 0, 0, 0);
                let mut room = output.capacity();
                output.resize(room, 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut taken,
                    input,
                    &mut room,
                    &mut written,
                    output,
                    &mut total,
                    state,
                );
                output.truncate(written);
                match result {
                    BrotliResult::ResultFailure => return Err(Corrupt),
                    BrotliResult::ResultSuccess => {
                        *ended = true;
                        return Ok(input.len());
                    }
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                }
                Ok(taken)
            }
            Self::Zstd { context, between } => {
                let mut source = InBuffer::around(input);
                let decoded = context.decompress_stream(&mut OutBuffer::around(output), &mut source);
                match decoded {
                    Ok(left) => *between = left == 0 || *between && output.is_empty(),
                    // Bytes after the last frame are nobody's.
                    Err(_) if *between => return Ok(input.len()),
                    Err(_) => return Err(Corrupt),
                }
                Ok(source.pos())
            }
        }
    }

    fn held(&self) -> usize {
        STATE_BYTES
            + match self {
                Self::Gzip(_) | Self::Deflate(_) => 0,
                Self::Brotli { state, .. } => {
                    let trees = [&state.literal_hgroup, &state.insert_copy_hgroup, &state.distance_hgroup];
                    let trees: usize = trees.iter().map(|group| size_of_val(group.codes.slice())).sum();
                    state.ringbuffer.slice().len() + trees
                }
                Self::Zstd { context, .. } => context.sizeof(),
            }
    }
}

impl Deflate {
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Corrupt> {
        if self.ended {
            return Ok(input.len());
        }
        let inflate = match (&mut self.inflate, self.first, input) {
            (Some(inflate), ..) => inflate,
            (None, _, []) => return Ok(0),
            (None, None, [first, ..]) => {
                self.first = Some(*first);
                return Ok(1);
            }
            (none @ None, Some(first), [second, ..]) => {
                // The frame begins with the method, 8, and makes a multiple of 31.
                let framed = first & 15 == 8 && u16::from_be_bytes([first, *second]).is_multiple_of(31);
                let inflate = none.insert(Decompress::new(framed));
                inflate.decompress_vec(&[first], output, FlushDecompress::None).map_err(|_| Corrupt)?;
                inflate
            }
        };
        let before = inflate.total_in();
        let status = inflate.decompress_vec(input, output, FlushDecompress::None).map_err(|_| Corrupt)?;
        self.ended = status == Status::StreamEnd;
        Ok(usize::try_from(inflate.total_in() - before).unwrap_or(input.len()))
    }
}

impl fmt::Debug for Codings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stages.iter().map(|stage| stage.name)).finish()
    }
}

#[cfg(test)]
mod tests;
