//! Questions and replies of the DNS as bytes.

use std::net::IpAddr;

use hickory_resolver::proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

/// What a name server may send in one datagram: what passes every network whole.
const MAX_PAYLOAD: u16 = 1232;
/// How many aliases are followed from a name.
pub(super) const MAX_ALIASES: usize = 16;

/// What a name server says to one question.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// The addresses of a family that the name has; for the root, that there is one.
    Addresses(Vec<IpAddr>),
    /// The name has none of them.
    Nothing(Nothing),
    /// The name is another's alias, of which the reply says nothing.
    Alias(Name),
    /// The server cannot answer, or does not want to.
    Refusal(ResponseCode),
}

/// Why a name has no address of a family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Nothing {
    /// The name that its aliases lead to, if it has any.
    pub(super) alias_of: Option<Name>,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Why {
    NoSuchName,
    NoAddress,
    /// Its aliases lead to each other, or to ever more.
    Endless,
}

/// A question as it goes out.
pub(super) struct Question {
    pub(super) id: u16,
    pub(super) query: Query,
    pub(super) bytes: Vec<u8>,
}

impl Question {
    /// The question for a name's records of a type; `None` if it cannot be written.
    pub(super) fn new(name: &Name, kind: RecordType, extended: bool) -> Option<Self> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        let query = Query::query(name.clone(), kind);
        message.add_query(query.clone());
        if extended {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_PAYLOAD);
            message.set_edns(edns);
        }
        Some(Self { id: message.metadata.id, query, bytes: message.to_vec().ok()? })
    }

    /// Whether a datagram claims to be the reply to this.
    pub(super) fn is_answered_by(&self, datagram: &[u8]) -> bool {
        datagram.first_chunk() == Some(&self.id.to_be_bytes())
    }

    /// Whether a message is the reply to this.
    pub(super) fn is_of(&self, message: &Message) -> bool {
        // Who did not understand the question may not have repeated it.
        let repeated = message.queries.first().map_or(message.answers.is_empty(), |query| *query == self.query);
        message.metadata.id == self.id && message.metadata.message_type == MessageType::Response && repeated
    }
}

/// Whether a server may answer when asked in the old way.
pub(super) fn is_about_extension(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS)
}

/// Reads a reply to the question for a name's addresses of one family.
pub(super) fn read(message: &Message, name: &Name, kind: RecordType) -> Said {
    let (end, round) = follow(message, name);
    let alias_of = (end != name).then(|| end.clone());
    let nothing = |why| Said::Nothing(Nothing { alias_of: alias_of.clone(), why });
    let addresses: Vec<IpAddr> = message
        .answers
        .iter()
        .filter(|record| record.name == *end)
        .filter_map(|record| address(&record.data, kind))
        .collect();
    if !addresses.is_empty() {
        return Said::Addresses(addresses);
    }
    match message.metadata.response_code {
        ResponseCode::NXDomain => nothing(Why::NoSuchName),
        ResponseCode::NoError if round => nothing(Why::Endless),
        ResponseCode::NoError => match alias_of.clone() {
            // Whoever shows the zone has looked for it.
            Some(alias) if message.authorities.iter().all(|record| record.record_type() != RecordType::SOA) => {
                Said::Alias(alias)
            }
            _ => nothing(Why::NoAddress),
        },
        code => Said::Refusal(code),
    }
}

/// Where a name's aliases lead to within a reply, in whatever order they stand there, and whether that has no end.
fn follow<'a>(message: &'a Message, name: &'a Name) -> (&'a Name, bool) {
    let mut at = name;
    for _ in 0..=MAX_ALIASES {
        let next = message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(alias) if record.name == *at => Some(&alias.0),
            _ => None,
        });
        match next {
            None => return (at, false),
            Some(next) => at = next,
        }
    }
    (at, true)
}

fn address(data: &RData, kind: RecordType) -> Option<IpAddr> {
    match (data, kind) {
        (RData::A(a), RecordType::A) => Some(IpAddr::V4(a.0)),
        (RData::AAAA(aaaa), RecordType::AAAA) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
