//! Types of values that keys have.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Durations written as `"500ms"`, `"10s"` or `"1h30m"`: for `#[serde(with = "shared::config::duration")]`.
pub mod duration {
    use std::time::Duration;

    use jiff::fmt::friendly::{SpanParser, SpanPrinter};
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes a duration.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&SpanPrinter::new().unsigned_duration_to_string(duration))
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// The text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        SpanParser::new().parse_unsigned_duration(&text).map_err(|_| {
            de::Error::custom(format_args!(
                "expected a duration such as \"500ms\", \"10s\" or \"1h30m\", found {text:?}"
            ))
        })
    }
}

/// A password or the like: never shown, neither by `Debug` nor when serialized.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "<redacted>" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "<redacted>" })
    }
}
