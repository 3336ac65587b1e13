//! Where to read partitions that have become ours: Postgres is asked, then Kafka, and what follows from both is settled in Postgres
//! before the first record is read.

use std::collections::BTreeMap;

use crate::metrics::Claim;
use crate::patience::Trouble;
use crate::position::{Inquiry, Look, Notice, first, position};
use crate::settings::From;
use crate::store::{Move, OLDEST, Store, Topic};

/// Partitions and the offset to read each from, and what was claimed with that.
pub type Claimed = (Vec<(i32, i64)>, Claim);

/// Claims partitions. Those that Kafka does not speak of are left for later, unless it speaks of none.
///
/// # Errors
/// Postgres refuses, or Kafka says nothing.
pub async fn claim(
    store: &mut Store,
    inquiry: &Inquiry,
    topic: &Topic,
    from: From,
    partitions: &[i32],
) -> Result<Claimed, Trouble> {
    let mut stored = store.claim(topic, partitions).await?;
    let known = store.progress(topic).await?;
    let ids: BTreeMap<i32, Option<String>> = known.into_iter().map(|known| (known.partition, known.topic_id)).collect();
    // Asked after Postgres: what Postgres has was in Kafka before. At the first start of all, every partition is given its begin.
    let wanted = (!ids.is_empty()).then(|| partitions.to_vec());
    let look = inquiry.look(wanted).await.ok_or_else(silence)?;
    let new = new(&look, &ids, from)?;
    if !new.is_empty() {
        store.begin(topic, look.id.as_deref(), &new).await?;
        // Another may have been faster, and its begin holds.
        stored = store.claim(topic, partitions).await?;
    }

    let (mut starts, mut moves, mut notices) = (Vec::new(), Vec::new(), Vec::new());
    for (partition, next) in stored {
        let id = ids.get(&partition).map_or(look.id.as_deref(), Option::as_deref);
        let (start, notice) = match look.watermarks.get(&partition) {
            _ if look.is_another(id) => (OLDEST, Some(Notice::Recreated)),
            Some(watermarks) => position(next, *watermarks),
            None => continue,
        };
        if notice.is_some() || (id.is_none() && look.id.is_some()) {
            moves.push(Move { partition, from: next, to: start });
        }
        notices.extend(notice.map(|notice| (partition, notice)));
        starts.push((partition, start));
    }
    if starts.is_empty() && !partitions.is_empty() {
        return Err(silence());
    }
    if !moves.is_empty() {
        // Whoever looks again before the first batch, when there may be as many records as before, must not take the offsets for good.
        store.set_offsets(topic, look.id.as_deref(), &moves).await?;
    }
    notify(&topic.name, &notices);
    let next: BTreeMap<i32, i64> = starts.iter().copied().collect();
    let silent = partitions.iter().copied().filter(|partition| !next.contains_key(partition)).collect();
    Ok((starts, Claim { epoch: 0, topic_id: look.id, next, silent }))
}

/// The first offsets of partitions that Postgres does not know. What `from` says is of the first start of all: a partition that comes
/// later has no record from before it.
fn new(look: &Look, known: &BTreeMap<i32, Option<String>>, from: From) -> Result<Vec<(i32, i64)>, Trouble> {
    let from = if known.is_empty() { from } else { From::Beginning };
    if from == From::End && look.watermarks.len() < look.partitions.len() {
        return Err(silence());
    }
    let new = look.watermarks.iter().filter(|(partition, _)| !known.contains_key(partition));
    Ok(new.map(|(partition, watermarks)| (*partition, first(from, *watermarks))).collect())
}

fn silence() -> Trouble {
    Trouble::Kafka("kafka does not say which offsets it has".to_owned())
}

fn notify(topic: &str, notices: &[(i32, Notice)]) {
    let anew = notices.iter().filter(|(_, notice)| *notice == Notice::Recreated).map(|(partition, _)| *partition);
    let anew: Vec<i32> = anew.collect();
    if !anew.is_empty() {
        tracing::error!(
            kafka.topic = topic,
            kafka.partitions = ?anew,
            "the topic was created anew or lost its end; reading it from its begin"
        );
    }
    for (partition, notice) in notices {
        if let Notice::Lost(records) = notice {
            tracing::error!(
                kafka.topic = topic,
                kafka.partition = partition,
                lost.records = records,
                "kafka deleted records before they were stored; reading on with the oldest that is left"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Watermarks;

    #[test]
    fn the_end_is_for_the_first_start_of_all() {
        let look = |answered: &[i32]| Look {
            partitions: BTreeMap::from([(0, Some(1)), (1, None)]),
            watermarks: answered.iter().map(|partition| (*partition, Watermarks { low: 3, high: 9 })).collect(),
            ..Look::default()
        };
        let known = |partitions: &[i32]| partitions.iter().map(|partition| (*partition, None)).collect();
        let firsts = |look, known, from| new(&look, &known, from).ok();
        assert_eq!(firsts(look(&[0, 1]), known(&[]), From::Beginning), Some(vec![(0, 3), (1, 3)]));
        assert_eq!(firsts(look(&[0, 1]), known(&[]), From::End), Some(vec![(0, 9), (1, 9)]));
        // Who does not know every end waits for it; else the one would be taken for one that came later.
        assert_eq!(firsts(look(&[0]), known(&[]), From::End), None);
        assert_eq!(firsts(look(&[0]), known(&[]), From::Beginning), Some(vec![(0, 3)]));
        assert_eq!(firsts(look(&[0, 1]), known(&[0]), From::End), Some(vec![(1, 3)]));
        assert_eq!(firsts(look(&[0]), known(&[0]), From::End), Some(vec![]));
    }
}
