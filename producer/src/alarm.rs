//! Wakes after microseconds: tokio's own timer counts whole milliseconds, by which every check would be late.

use std::time::Duration;

/// A timer of the kernel's where there is one (Linux), else tokio's.
#[derive(Debug)]
pub struct Alarm(#[cfg(target_os = "linux")] Option<timer::Timer>);

impl Alarm {
    /// An alarm, to be made and used within a runtime.
    pub fn new() -> Self {
        // Without a descriptor for it checks begin later, and all else is well.
        Self(
            #[cfg(target_os = "linux")]
            timer::Timer::new().ok(),
        )
    }

    /// Waits so long, and no longer. One wait at a time.
    pub async fn wait(&self, pause: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(timer) = &self.0
            && timer.wait(pause).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_os = "linux")]
mod timer {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        #[expect(deprecated, reason = "its successor is unsafe, for descriptors that may go; one that is owned cannot")]
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            Ok(Self(AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
        }

        pub(super) async fn wait(&self, pause: Duration) -> io::Result<()> {
            // The kernel takes a zero for "never".
            let pause = pause.max(Duration::from_nanos(1));
            let once = Itimerspec {
                it_interval: NEVER,
                it_value: Timespec::try_from(pause).map_err(|_| io::ErrorKind::InvalidInput)?,
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.0.readable().await?;
                // An earlier wait that was given up may have left its mark; then there is nothing to read.
                if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?)) {
                    return read.map(drop);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn waits_as_long_as_it_is_told_and_may_be_given_up() {
        let alarm = Alarm::new();
        for pause in [0, 1, 300, 20_000].map(Duration::from_micros) {
            let began = Instant::now();
            alarm.wait(pause).await;
            assert!(began.elapsed() >= pause);
        }
        let began = Instant::now();
        let pause = Duration::from_millis(50);
        for _ in 0..3 {
            // Given up before its time, or just when it has come.
            let short = Duration::from_micros(500);
            tokio::select! {
                biased;
                () = tokio::time::sleep(short) => {}
                () = alarm.wait(short) => {}
            }
        }
        alarm.wait(pause).await;
        assert!(began.elapsed() >= pause);
    }

    /// This is what it is there for: the best of many waits shows what the timer can do, however loaded the machine is.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn wakes_within_a_millisecond() {
        let alarm = Alarm::new();
        let pause = Duration::from_micros(300);
        let mut best = Duration::MAX;
        for _ in 0..200 {
            let began = Instant::now();
            alarm.wait(pause).await;
            best = best.min(began.elapsed());
        }
        assert!(best < Duration::from_millis(1), "{best:?}");
    }
}
