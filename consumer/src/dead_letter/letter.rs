//! A record of the dead-letter topic, as it is read back. Pure.

use bytes::Bytes;
use serde_json::Value;
use shared::masked;

/// A record that could not be stored, and what its headers say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Where it stands in the dead-letter topic.
    pub partition: i32,
    /// And at which offset.
    pub offset: i64,
    /// Where it came from; `None` for a record that is no dead letter of ours.
    pub source: Option<Source>,
    /// Its timestamp there, in milliseconds of Unix time.
    pub timestamp: Option<i64>,
    /// Why it could not be stored.
    pub reason: String,
    /// The size that it had, where only its begin was kept.
    pub truncated: Option<u64>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub payload: Option<Bytes>,
}

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The topic of the results.
    pub topic: String,
    /// The partition there.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
}

impl Letter {
    /// Reads the headers of a letter.
    pub fn with_headers<'a>(mut self, headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let (mut topic, mut partition, mut offset) = (None, None, None);
        for (name, value) in headers {
            let text = String::from_utf8_lossy(value.unwrap_or_default());
            match name {
                "dead-letter.topic" => topic = Some(text.into_owned()),
                "dead-letter.partition" => partition = text.parse().ok(),
                "dead-letter.offset" => offset = text.parse().ok(),
                "dead-letter.timestamp" => self.timestamp = text.parse().ok(),
                "dead-letter.reason" => self.reason = text.into_owned(),
                "dead-letter.keyless" => self.key = None,
                "dead-letter.truncated" => self.truncated = Some(text.parse().unwrap_or_default()),
                _ => {}
            }
        }
        self.source =
            topic.zip(partition).zip(offset).map(|((topic, partition), offset)| Source { topic, partition, offset });
        if self.source.is_none() {
            self.reason = "not written by a consumer: the headers are missing".to_owned();
        }
        self
    }

    /// The target that it is about, where that can be read: from the value, or else from the key.
    pub fn target(&self) -> Option<String> {
        let value: Option<Value> = self.payload.as_deref().and_then(|payload| serde_json::from_slice(payload).ok());
        let text = |pointer: &str| Some(value.as_ref()?.pointer(pointer)?.as_str()?.to_owned());
        let named = text("/meta/target").or_else(|| text("/http/url").map(|url| masked::url(&url)));
        named.or_else(|| String::from_utf8(self.key.as_ref()?.to_vec()).ok())
    }

    /// Bytes of its value as they are here.
    pub fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len)
    }

    /// Why it cannot be sent again to this topic; `None` when it can.
    pub fn obstacle(&self, topic: &str) -> Option<String> {
        match (&self.source, self.truncated) {
            (None, _) => Some(self.reason.clone()),
            (Some(_), Some(size)) => Some(format!("only the begin of its {size} bytes was kept")),
            (Some(source), None) if source.topic != topic => {
                Some(format!("it came from topic `{}`; set kafka.topic to that", source.topic))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, Option<&'static [u8]>)> {
        let ours = [("dead-letter.topic", "checks"), ("dead-letter.partition", "3"), ("dead-letter.offset", "7")];
        ours.iter().chain(more).map(|(name, value)| (*name, Some(value.as_bytes()))).collect()
    }

    #[test]
    fn headers_are_read_back() {
        let more = [("dead-letter.reason", "not JSON"), ("dead-letter.timestamp", "12"), ("other", "x")];
        let letter = Letter::default().with_headers(headers(&more));
        assert_eq!(letter.source, Some(Source { topic: "checks".to_owned(), partition: 3, offset: 7 }));
        let keyed = || Letter { key: Some(Bytes::from_static(b"checks/3/7")), ..Letter::default() };
        assert_eq!(keyed().with_headers(headers(&[("dead-letter.keyless", "true")])).key, None);
        assert_eq!(keyed().with_headers(headers(&[])).key, keyed().key);
        assert_eq!((letter.reason.as_str(), letter.timestamp, letter.truncated), ("not JSON", Some(12), None));
    }

    #[test]
    fn only_whole_letters_of_the_topic_can_be_sent_again() {
        let good = Letter::default().with_headers(headers(&[]));
        assert_eq!(good.obstacle("checks"), None);
        assert!(good.obstacle("other").is_some_and(|why| why.contains("`checks`")));
        let cut = Letter::default().with_headers(headers(&[("dead-letter.truncated", "999")]));
        assert!(cut.obstacle("checks").is_some_and(|why| why.contains("999 bytes")));
        let foreign = Letter::default().with_headers([("dead-letter.topic", Some(&b"checks"[..]))]);
        assert!(foreign.obstacle("checks").is_some_and(|why| why.contains("headers")));
    }

    #[test]
    fn the_target_is_read_where_it_can_be() {
        let letter = |key: Option<&'static [u8]>, payload: Option<&'static [u8]>| Letter {
            key: key.map(Bytes::from_static),
            payload: payload.map(Bytes::from_static),
            ..Letter::default()
        };
        let table = [
            (letter(Some(b"key"), Some(br#"{"meta": {"target": "a"}}"#)), Some("a")),
            (letter(Some(b"key"), Some(br#"{"meta": {}, "http": {"url": "http://x/"}}"#)), Some("http://x/")),
            (letter(Some(b"key"), Some(b"poison")), Some("key")),
            (letter(Some(b"\xff"), None), None),
            (letter(None, None), None),
        ];
        for (letter, expected) in table {
            assert_eq!(letter.target().as_deref(), expected, "{letter:?}");
        }
    }
}
