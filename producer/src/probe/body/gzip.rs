//! The frame of gzip (RFC 1952) around deflated bytes: one member after the other, and then perhaps bytes that belong to none.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::codings::Corrupt;

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HAS_HEADER_CRC: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

/// What of a member comes next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// Ten bytes, of which so many have come.
    Head(usize),
    /// The two bytes that say how long the extra field is, of which so many have come.
    ExtraLength(usize),
    /// Extra bytes that are still to come.
    Extra(usize),
    Name,
    Comment,
    /// Bytes of the header's checksum that are still to come.
    HeaderCrc(usize),
    Data,
    /// Eight bytes of checksum and length, of which so many have come.
    Trailer(usize),
    /// Bytes that belong to no member.
    Garbage,
}

/// The coding `gzip`.
#[derive(Debug)]
pub(super) struct Gzip {
    part: Part,
    members: usize,
    flags: u8,
    extra: usize,
    trailer: [u8; 8],
    crc: Crc,
    inflate: Decompress,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            part: Part::Head(0),
            members: 0,
            flags: 0,
            extra: 0,
            trailer: [0; 8],
            crc: Crc::new(),
            inflate: Decompress::new(false),
        }
    }

    /// Whether the body may end here.
    pub(super) fn may_end(&self) -> bool {
        // What of a further member's header there is may as well be garbage.
        self.part == Part::Head(0)
            || self.part == Part::Garbage
            || self.members > 0 && matches!(self.part, Part::Head(_))
    }

    /// Decodes some bytes, and says how many of them it took.
    pub(super) fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Corrupt> {
        let mut taken = 0;
        loop {
            match (self.part, input.get(taken)) {
                (Part::Garbage, _) => return Ok(input.len()),
                // Without input there may be something that had no room before.
                (Part::Data, _) => return Ok(taken + self.inflate(&input[taken..], output)?),
                (_, Some(&byte)) => self.frame(byte)?,
                (_, None) => return Ok(taken),
            }
            taken += 1;
        }
    }

    fn inflate(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Corrupt> {
        let (before, start) = (self.inflate.total_in(), output.len());
        let status = self.inflate.decompress_vec(input, output, FlushDecompress::None).map_err(|_| Corrupt)?;
        self.crc.update(&output[start..]);
        if status == Status::StreamEnd {
            self.part = Part::Trailer(0);
        }
        Ok(usize::try_from(self.inflate.total_in() - before).unwrap_or(input.len()))
    }

    /// Takes a byte that is not data.
    fn frame(&mut self, byte: u8) -> Result<(), Corrupt> {
        self.part = match self.part {
            Part::Head(at) => match MAGIC.get(at) {
                Some(&expected) if byte != expected && self.members > 0 => Part::Garbage,
                Some(&expected) if byte != expected => return Err(Corrupt),
                _ => {
                    if at == 3 {
                        self.flags = byte;
                    }
                    if at == 9 { self.after(HAS_EXTRA) } else { Part::Head(at + 1) }
                }
            },
            Part::ExtraLength(0) => {
                self.extra = byte.into();
                Part::ExtraLength(1)
            }
            Part::ExtraLength(_) => match self.extra + (usize::from(byte) << 8) {
                0 => self.after(HAS_NAME),
                extra => Part::Extra(extra),
            },
            Part::Extra(1) => self.after(HAS_NAME),
            Part::Extra(left) => Part::Extra(left - 1),
            Part::Name if byte == 0 => self.after(HAS_COMMENT),
            Part::Comment if byte == 0 => self.after(HAS_HEADER_CRC),
            Part::HeaderCrc(2) => Part::HeaderCrc(1),
            Part::HeaderCrc(_) => Part::Data,
            Part::Trailer(at) => {
                self.trailer[at] = byte;
                if at == 7 { self.end()? } else { Part::Trailer(at + 1) }
            }
            part @ (Part::Name | Part::Comment | Part::Data | Part::Garbage) => part,
        };
        Ok(())
    }

    /// The next part of the header that this member has, from the one of this flag on.
    fn after(&self, flag: u8) -> Part {
        let parts = [
            (HAS_EXTRA, Part::ExtraLength(0)),
            (HAS_NAME, Part::Name),
            (HAS_COMMENT, Part::Comment),
            (HAS_HEADER_CRC, Part::HeaderCrc(2)),
        ];
        let from = parts.iter().skip_while(|(of, _)| *of != flag);
        from.filter(|(of, _)| self.flags & of != 0).map(|(_, part)| *part).next().unwrap_or(Part::Data)
    }

    /// A member has ended.
    fn end(&mut self) -> Result<Part, Corrupt> {
        let [a, b, c, d, length @ ..] = self.trailer;
        if u32::from_le_bytes([a, b, c, d]) != self.crc.sum() || u32::from_le_bytes(length) != self.crc.amount() {
            return Err(Corrupt);
        }
        self.members += 1;
        self.crc.reset();
        self.inflate.reset(false);
        Ok(Part::Head(0))
    }
}
