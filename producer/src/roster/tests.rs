use std::collections::BTreeSet;

use super::*;
use crate::shards::shard;
use crate::targets::tests::try_load;

/// Targets of these names and intervals in seconds.
fn targets(of: &[(&str, u64)]) -> Vec<Arc<Target>> {
    let entry = |(name, interval): &(&str, u64)| {
        format!("[[targets]]\nname = '{name}'\nurl = 'http://127.0.0.1/'\ninterval = '{interval}s'\n")
    };
    try_load(&of.iter().map(entry).collect::<String>()).unwrap()
}

fn names(targets: &[Arc<Target>]) -> Vec<&str> {
    targets.iter().map(|target| target.name.as_str()).collect()
}

#[test]
fn who_has_the_same_name_and_interval_is_kept() {
    let before = targets(&[("a", 1), ("b", 2), ("c", 3)]);
    let change = Change::between(&before, targets(&[("c", 3), ("d", 4), ("b", 5), ("a", 1)]));
    assert_eq!(change.kept, [Some(2), None, None, Some(0)]);
}

#[tokio::test]
async fn follows_the_file_and_the_shards() {
    let all = targets(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
    let of = 1000;
    let owning = |names: &[&str]| Shards::Owned {
        owned: names.iter().filter_map(|name| shard(name, of)).collect::<BTreeSet<_>>(),
        of,
    };
    let (file, reloaded) = mpsc::channel(1);
    let (group, shards) = watch::channel(Shards::none());
    let (sender, mut changes) = mpsc::channel(1);
    let following = follow(all, Vec::new(), reloaded, shards, sender);
    let driving = async {
        group.send_replace(owning(&["a", "c"]));
        let change = changes.recv().await.unwrap();
        assert_eq!((names(&change.targets), change.kept), (vec!["a", "c"], vec![None, None]));

        file.send(targets(&[("c", 1), ("b", 1), ("a", 2)])).await.unwrap();
        let change = changes.recv().await.unwrap();
        assert_eq!((names(&change.targets), change.kept), (vec!["c", "a"], vec![Some(1), None]));

        group.send_replace(owning(&["b", "c"]));
        let change = changes.recv().await.unwrap();
        assert_eq!((names(&change.targets), change.kept), (vec!["c", "b"], vec![Some(0), None]));

        drop((file, group));
        assert!(changes.recv().await.is_none(), "nothing can change any more");
    };
    tokio::join!(following, driving);
}
