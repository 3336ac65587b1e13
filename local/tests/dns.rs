//! The DNS server, asked by hand.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use local::dns::{Answer, DnsServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn query(name: &str, family: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), family));
    message.to_vec().unwrap()
}

async fn ask(server: &DnsServer, name: &str, family: RecordType, patience: Duration) -> Option<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let query = query(name, family);
    socket.send_to(&query, server.addr()).await.unwrap();
    let mut datagram = [0; 512];
    let length = timeout(patience, socket.recv(&mut datagram)).await.ok()?.unwrap();
    assert_eq!(datagram[..2], query[..2], "the reply carries the id of the query");
    Some(Message::from_vec(&datagram[..length]).unwrap())
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => IpAddr::from(address.0),
        RData::AAAA(address) => IpAddr::from(address.0),
        other => panic!("{other}"),
    };
    message.answers.iter().map(|record| address(&record.data)).collect()
}

#[tokio::test]
async fn each_family_is_answered_with_its_own_addresses_or_with_none() {
    let both: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let four = Answer::from(both[0]);
    let server = DnsServer::start([("both.test", Answer::Addresses(both.clone())), ("four.test", four)]).await.unwrap();
    for (name, family, expected) in [
        ("both.test.", RecordType::A, &both[..1]),
        ("both.test.", RecordType::AAAA, &both[1..]),
        ("FOUR.test.", RecordType::A, &both[..1]),
        ("four.test.", RecordType::AAAA, &[]),
    ] {
        let reply = ask(&server, name, family, PATIENCE).await.unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert_eq!(addresses(&reply), expected, "{name} {family}");
    }
    assert_eq!((server.queries("both.test"), server.queries("four.test"), server.queries("no.test")), (2, 2, 0));
}

#[tokio::test]
async fn names_misbehave_as_told() {
    let server =
        DnsServer::start([("failing.test", Answer::ServFail), ("refused.test", Answer::Refused)]).await.unwrap();
    for (name, expected) in [
        ("failing.test.", ResponseCode::ServFail),
        ("refused.test.", ResponseCode::Refused),
        ("unknown.test.", ResponseCode::NXDomain),
    ] {
        let reply = ask(&server, name, RecordType::A, PATIENCE).await.unwrap();
        assert_eq!(reply.metadata.response_code, expected, "{name}");
    }
    server.set("silent.test", Answer::Silent);
    assert!(ask(&server, "silent.test.", RecordType::A, Duration::from_millis(100)).await.is_none());
    let deadline = std::time::Instant::now() + PATIENCE;
    while server.queries("silent.test") == 0 && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server.queries("silent.test"), 1);

    let delay = Duration::from_millis(150);
    server.set("late.test", Answer::Delayed(delay, vec!["127.0.0.1".parse().unwrap()]));
    let asked = std::time::Instant::now();
    assert_eq!(addresses(&ask(&server, "late.test.", RecordType::A, PATIENCE).await.unwrap()).len(), 1);
    assert!(asked.elapsed() >= delay);

    server.remove("late.test");
    let reply = ask(&server, "late.test.", RecordType::A, PATIENCE).await.unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn tcp_is_answered_too() {
    let server = DnsServer::start([("site.test", Answer::from(IpAddr::from([127, 0, 0, 1])))]).await.unwrap();
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let query = query("site.test.", RecordType::A);
    stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
    stream.write_all(&query).await.unwrap();
    let mut reply = vec![0; usize::from(timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap())];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(addresses(&Message::from_vec(&reply).unwrap()), [IpAddr::from([127, 0, 0, 1])]);
}
