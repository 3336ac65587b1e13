//! A short run of what `make chaos` does for longer.

use std::time::Duration;

use tests::binary;
use tests::chaos::{Plan, names, run};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_doubled_while_everything_fails() {
    let binaries = tokio::task::block_in_place(|| binary("producer")).with_file_name("");
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { binaries, lasts: Duration::from_secs(40), seed: 2, faults: names().collect(), targets: 60 };
    let report = run(&plan, folder.path(), &CancellationToken::new(), |_| {}).await;
    let well = report.as_ref().is_ok_and(|report| report.account.adds_up() && report.account.due > 0);
    if !well {
        let told = report.map(|report| format!("{}{}", report.table(), report.account));
        panic!("{told:?}\nthe logs are in {}", folder.keep().display());
    }
}
