//! The frames of HTTP/2 as they pass, for the one that the protocol keeps to itself: why a server goes away.

use h2::Reason;

const HEADER: usize = 9;
const GOAWAY: u8 = 7;
/// The last stream and the reason.
const GOAWAY_BODY: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The header of the frame that is under way, and of a GOAWAY also its body.
    kept: Vec<u8>,
    /// How much of the frame is still to come and not to be kept.
    passing: usize,
    go_away: Option<u32>,
}

impl Frames {
    /// Why the server goes away, if it has said so.
    pub(super) fn go_away(&self) -> Option<Reason> {
        self.go_away.map(Reason::from)
    }

    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.passing.min(bytes.len());
            self.passing -= passed;
            bytes = &bytes[passed..];
            let missing = self.wanted() - self.kept.len();
            let (kept, rest) = bytes.split_at(missing.min(bytes.len()));
            self.kept.extend_from_slice(kept);
            bytes = rest;
            if self.kept.len() == self.wanted() {
                self.end_of_kept();
            }
        }
    }

    fn wanted(&self) -> usize {
        if self.kept.get(3) == Some(&GOAWAY) && self.kept.len() >= HEADER { HEADER + GOAWAY_BODY } else { HEADER }
    }

    fn end_of_kept(&mut self) {
        let length = self.kept[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let body = self.kept.len() - HEADER;
        if let [.., a, b, c, d] = self.kept[HEADER..] {
            self.go_away = Some(u32::from_be_bytes([a, b, c, d]));
        }
        self.passing = length.saturating_sub(body);
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goaway_is_seen_wherever_it_is_cut() {
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        let data = b"\0\0\x04\0\0\0\0\0\x01\x07\x07\x07\x07";
        let go_away = b"\0\0\x0c\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x0bcalm";
        let all = [&settings[..], data, go_away, data].concat();
        for size in 1..=all.len() {
            let mut frames = Frames::default();
            assert_eq!(frames.go_away(), None);
            all.chunks(size).for_each(|piece| frames.take(piece));
            assert_eq!(frames.go_away(), Some(Reason::ENHANCE_YOUR_CALM), "{size}");
        }
        let mut frames = Frames::default();
        frames.take(&[&settings[..], data].concat());
        assert_eq!(frames.go_away(), None);
    }
}
