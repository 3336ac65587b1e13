use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{CNAME, SOA};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A reply from words such as `a>b` (an alias), `b=127.0.0.1`, `soa` and a code.
fn reply(words: &str) -> Message {
    let mut message = Message::response(7, hickory_resolver::proto::op::OpCode::Query);
    for word in words.split_whitespace() {
        if let Some((from, to)) = word.split_once('>') {
            message.add_answer(Record::from_rdata(name(from), 1, RData::CNAME(CNAME(name(to)))));
        } else if let Some((of, address)) = word.split_once('=') {
            let data = RData::from(address.parse::<IpAddr>().unwrap());
            message.add_answer(Record::from_rdata(name(of), 1, data));
        } else if word == "soa" {
            let soa = SOA::new(name("ns.test."), name("who.test."), 1, 1, 1, 1, 1);
            message.add_authority(Record::from_rdata(name("test."), 1, RData::SOA(soa)));
        } else {
            message.metadata.response_code = match word {
                "nxdomain" => ResponseCode::NXDomain,
                "servfail" => ResponseCode::ServFail,
                other => panic!("{other}"),
            };
        }
    }
    message
}

#[test]
fn what_a_reply_says() {
    let addresses = |all: &[&str]| Said::Addresses(all.iter().map(|text| text.parse().unwrap()).collect());
    let nothing = |alias_of: &str, why| {
        let alias_of = (!alias_of.is_empty()).then(|| name(alias_of));
        Said::Nothing(Nothing { alias_of, why })
    };
    let many: String = (0..20).map(|n| format!("{n}.test.>{}.test. ", n + 1)).collect();
    let table = [
        ("site.test.=127.0.0.1", addresses(&["127.0.0.1"])),
        ("SITE.test.=127.0.0.1 site.TEST.=127.0.0.2", addresses(&["127.0.0.1", "127.0.0.2"])),
        ("site.test.=::1", nothing("", Why::NoAddress)),
        ("other.test.=127.0.0.1", nothing("", Why::NoAddress)),
        ("site.test.>a.test. a.test.>b.test. b.test.=127.0.0.1", addresses(&["127.0.0.1"])),
        ("b.test.=127.0.0.1 a.test.>b.test. site.test.>a.test.", addresses(&["127.0.0.1"])),
        ("site.test.>a.test.", Said::Alias(name("a.test."))),
        ("site.test.>a.test. soa", nothing("a.test.", Why::NoAddress)),
        ("site.test.>a.test. nxdomain", nothing("a.test.", Why::NoSuchName)),
        ("site.test.>a.test. servfail", Said::Refusal(ResponseCode::ServFail)),
        ("site.test.>a.test. a.test.>site.test.", nothing("a.test.", Why::Endless)),
        (&("site.test.>0.test. ".to_owned() + &many), nothing("16.test.", Why::Endless)),
        ("", nothing("", Why::NoAddress)),
        ("soa nxdomain", nothing("", Why::NoSuchName)),
        ("servfail", Said::Refusal(ResponseCode::ServFail)),
    ];
    for (words, expected) in table {
        assert_eq!(read(&reply(words), &name("site.test."), RecordType::A), expected, "{words}");
    }
}

#[test]
fn a_reply_is_to_its_own_question() {
    let question = Question::new(&name("site.test."), RecordType::A, true).unwrap();
    let sent = Message::from_vec(&question.bytes).unwrap();
    assert_eq!((sent.edns.as_ref().map(Edns::max_payload), sent.metadata.recursion_desired), (Some(1232), true));
    let answer = |query: Query, id: u16| {
        let mut message = Message::response(id, sent.metadata.op_code);
        message.add_query(query);
        message
    };
    let id = question.id;
    let upper = Query::query(name("SITE.test."), RecordType::A);
    assert!(question.is_of(&answer(question.query.clone(), id)) && question.is_of(&answer(upper, id)));
    assert!(question.is_of(&Message::error_msg(id, sent.metadata.op_code, ResponseCode::FormErr)));
    assert!(!question.is_of(&sent), "that is the question itself");
    assert!(!question.is_of(&answer(question.query.clone(), id ^ 1)));
    assert!(!question.is_of(&answer(Query::query(name("site.test."), RecordType::AAAA), id)));
    assert!(!question.is_of(&answer(Query::query(name("other.test."), RecordType::A), id)));
    assert!(question.is_answered_by(&question.bytes) && !question.is_answered_by(&[]));
}
