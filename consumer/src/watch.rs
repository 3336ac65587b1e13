//! Looks at the topic every few seconds: how far behind we are, whether it is still the topic that it was, whether a partition that
//! was silent speaks, and whether what lies between Postgres and its end are records at all ([`crate::gaps`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::gaps::Gaps;
use crate::gather::Work;
use crate::metrics::Claim;
use crate::position::Inquiry;
use crate::record::Counts;

/// How often. What the client has fetched says nothing of it: while Postgres is away, nothing is fetched.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// Who looks, and who hears of it.
pub struct Watch {
    /// Asks Kafka.
    pub inquiry: Inquiry,
    /// Tells records from gaps.
    pub gaps: Gaps,
    /// Has what was claimed, and is told what Kafka has.
    pub counts: Arc<Counts>,
    /// Where it is said what is to be done. It does not keep the stages from ending.
    pub work: mpsc::WeakSender<Work>,
}

/// Looks for as long as it is awaited.
pub async fn watch(mut watch: Watch) {
    loop {
        let claim = watch.counts.progress.claim();
        if let Some(work) = watch.look(&claim).await
            && let Some(sender) = watch.work.upgrade()
        {
            // Who is busy for longer is told after the next look, if it is still so.
            let _ = timeout(BETWEEN_LOOKS, sender.send(work)).await;
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

impl Watch {
    async fn look(&mut self, claim: &Claim) -> Option<Work> {
        let ours: Vec<i32> = claim.next.keys().chain(&claim.silent).copied().collect();
        if ours.is_empty() {
            return None;
        }
        let look = self.inquiry.look(Some(ours)).await?;
        self.counts.progress.kafka_has(look.watermarks.clone());
        let speaks = claim.silent.iter().any(|partition| look.watermarks.contains_key(partition));
        let epoch = claim.epoch;
        if speaks || look.is_another(claim.topic_id.as_deref()) {
            return Some(Work::Again { epoch });
        }
        let gaps = self.gaps.find(&claim.next, &look).await;
        (!gaps.is_empty()).then_some(Work::Skip { epoch, gaps })
    }
}
