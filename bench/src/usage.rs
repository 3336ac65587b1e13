//! What a process has used so far, as the kernel says.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;

/// User and system time of all threads of a process, ended ones included.
pub(crate) fn cpu(pid: Pid) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    // The name in parentheses may have spaces of its own. `utime` and `stime` are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("no stat of a process")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
        anyhow::bail!("no times in the stat of a process");
    };
    Ok(Duration::from_millis((user + system) * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The time that the main thread of a process has run, to the nanosecond: what a server's session uses for a question is less than
/// a tick of [`cpu`].
pub(crate) fn running(pid: Pid) -> anyhow::Result<Duration> {
    let schedule = fs::read_to_string(format!("/proc/{}/schedstat", pid.as_raw_nonzero()))?;
    let nanoseconds = schedule.split_whitespace().next().context("no schedstat of a process")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Resident memory of a process in bytes, now and at its peak.
pub(crate) fn memory(pid: Pid) -> anyhow::Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let kibibytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no memory in a status")?;
        anyhow::Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    };
    Ok((kibibytes("VmRSS")?, kibibytes("VmHWM")?))
}

/// The load average of the last minute.
pub(crate) fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').next().unwrap_or_default().to_owned()
}
