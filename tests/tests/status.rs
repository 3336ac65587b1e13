//! `consumer status` says what is so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use rustix::process::Signal;
use serde_json::Value;
use tests::{Fed, World, patiently};

async fn status(fed: &Fed, arguments: &[&str]) -> String {
    let mut status = fed.world.start("consumer", &[&["status"], arguments].concat(), &[("POSTGRES_RETENTION", "90d")]);
    let ended = patiently("status", status.wait()).await.unwrap();
    assert!(ended.success(), "{:#?}", status.log());
    status.log().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_how_fast_and_what_there_is() {
    let mut fed = Fed::new(World::new().await, &[]).await.settled().await;
    let now: Value = serde_json::from_str(&status(&fed, &["--json"]).await).unwrap();
    let partitions = now["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2);
    for partition in partitions {
        assert_eq!((&partition["lag"], &partition["owned"]), (&Value::from(0), &Value::from(true)), "{now:#}");
    }
    assert!(now["days"].as_array().unwrap().iter().any(|day| day["table"] == "checks_20260101"), "{now:#}");

    let text = status(&fed, &[]).await;
    assert!(text.contains("results are kept 90d"), "{text}");
    fed.world.run_unread("consumer", &["status"], &[]).await;
    fed.world.run_unread("consumer", &["status", "--json"], &[]).await;
    fed.consumer.signal(Signal::TERM).unwrap();
    patiently("the end", fed.consumer.wait()).await.unwrap();
    fed.feed().await;
    let behind: Value = serde_json::from_str(&status(&fed, &["--json"]).await).unwrap();
    let lag: i64 = behind["partitions"].as_array().unwrap().iter().map(|of| of["lag"].as_i64().unwrap()).sum();
    assert_eq!(lag, 200);
    assert!(behind["partitions"].as_array().unwrap().iter().all(|of| of["owned"] == false), "{behind:#}");
}
