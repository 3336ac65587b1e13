//! The targets file anew, when it has changed or SIGHUP asks for it: read as a whole, and taken only if all of it is good.
//!
//! The file is looked at rather than watched: a ConfigMap changes by a symbolic link to a folder above it, a network's file system
//! tells nobody, and a look costs one system call.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};
use shared::admin::Metrics;
use shared::config::Loaded;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use crate::heap;
use crate::settings::Settings;
use crate::targets::{Target, load_targets};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// One state of a file, behind all symbolic links; `None` where there is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(Option<[i64; 6]>);

impl Mark {
    /// The present state of the targets file of these settings.
    pub fn of(settings: &Settings) -> Self {
        Self::at(Path::new(&settings.schedule.targets_file))
    }

    fn at(path: &Path) -> Self {
        let of = |file: std::fs::Metadata| {
            let [device, inode, size] = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
            [device, inode, size, file.mtime(), file.mtime_nsec(), file.ctime_nsec()]
        };
        Self(path.metadata().ok().map(of))
    }
}

/// How the last reload went, for the admin port.
#[derive(Debug)]
pub struct Reloads {
    successful: AtomicBool,
    succeeded_at: AtomicI64,
}

impl Reloads {
    /// Shows itself in these metrics. The load at the start was a success.
    pub fn new(metrics: &mut Metrics) -> Arc<Self> {
        let succeeded_at = AtomicI64::new(Timestamp::now().as_second());
        let reloads = Arc::new(Self { successful: AtomicBool::new(true), succeeded_at });
        let reading = reloads.clone();
        metrics.measured("config_last_reload_successful", "Whether the targets file was good when it was read last", {
            move || f64::from(u8::from(reading.successful.load(Ordering::Relaxed)))
        });
        let reading = reloads.clone();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        metrics.measured(
            "config_last_reload_success_timestamp_seconds",
            "When the targets that are checked were read, in Unix time",
            move || reading.succeeded_at.load(Ordering::Relaxed) as f64,
        );
        reloads
    }

    fn ended(&self, successful: bool) {
        self.successful.store(successful, Ordering::Relaxed);
        if successful {
            self.succeeded_at.store(Timestamp::now().as_second(), Ordering::Relaxed);
        }
    }
}

/// Makes SIGHUP an event, where it would have ended the process. To be called before there is a second thread.
///
/// # Errors
/// The signal cannot be blocked.
pub fn hangups() -> std::io::Result<mpsc::Receiver<()>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGHUP);
    signals.thread_block()?;
    let (sender, hangups) = mpsc::channel(1);
    thread::Builder::new().name("hangups".to_owned()).spawn(move || {
        while signals.wait().is_ok() {
            // One that waits already stands for this one, too.
            let _ = sender.try_send(());
        }
    })?;
    Ok(hangups)
}

/// Hands on the targets each time that they are read anew. `known` is the state that they have been read from.
pub async fn watch(
    settings: Arc<Loaded<Settings>>,
    mut known: Mark,
    mut hangups: mpsc::Receiver<()>,
    reloaded: mpsc::Sender<Vec<Arc<Target>>>,
    reloads: Arc<Reloads>,
) {
    let path = PathBuf::from(&settings.settings.schedule.targets_file);
    let mut last = known.clone();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            Some(()) = hangups.recv() => true,
        };
        if path.as_os_str().is_empty() {
            if asked {
                tracing::info!("SIGHUP: there is no targets file to be read again");
            }
            continue;
        }
        let mark = Mark::at(&path);
        // Who writes into the file itself is let finish.
        let rests = mark == last;
        last = mark.clone();
        if !asked && (!rests || mark == known) {
            continue;
        }
        let loading = settings.clone();
        let loaded = spawn_blocking(move || {
            let loaded = load_targets(&loading);
            heap::give_back();
            loaded
        });
        match loaded.await {
            // Of which state it was, nobody knows.
            Ok(_) if Mark::at(&path) != mark => continue,
            Ok(Ok(targets)) => {
                reloads.ended(true);
                tracing::info!(targets.count = targets.len(), targets.file = %path.display(), "targets read anew");
                if reloaded.send(targets).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => {
                reloads.ended(false);
                tracing::error!(%error, "the targets file is refused; the targets stay as they were");
            }
            Err(died) => {
                reloads.ended(false);
                tracing::error!(error = %died, "reading the targets file has failed; the targets stay as they were");
            }
        }
        known = mark;
    }
}
