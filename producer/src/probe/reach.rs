//! From a host to a connection: its addresses are looked up, guarded, and tried one after the other until one connects.
//!
//! Each has its share of the time that is left, so that one that is dead leaves some for the others. The other family is looked up only
//! when the preferred one has not connected. What fails once a connection stands is the site's answer, and no reason to try elsewhere.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use shared::message::{FailedAddress, FailureClass, Phase};
use tokio::time::{Instant, timeout};
use url::{Host, Url};

use super::addresses::{impossible, sort};
use super::client::AnyError;
use super::cookies::Jar;
use super::exchange::broken;
use super::ours::{Ours, ours};
use super::redirect::Ask;
use super::resolver::Resolved;
use super::trace::Trace;
use super::words::{find, root_cause};
use super::{Broken, Check, Probe, micros};

/// How many addresses of a host are considered.
const MOST_ADDRESSES: usize = 10;

/// The addresses that are still to be tried, all guarded.
struct Ahead<'a> {
    addresses: VecDeque<IpAddr>,
    port: u16,
    /// Where the target itself is, if a redirect leads here.
    redirected_from: Option<IpAddr>,
    /// The name whose other family has not been looked up yet.
    other_family_of: Option<(&'a str, IpAddr)>,
    /// Whether the site, not we, is why some address did not connect.
    theirs: bool,
    /// What the guard said of one that it refused.
    refusal: Option<String>,
    /// Why nobody could say whether there are more.
    unknown: Option<String>,
}

impl Probe {
    /// Where a URL's host is, as far as one family knows.
    pub(super) async fn locate(&self, url: &Url, check: &mut Check, first: bool) -> Result<Vec<IpAddr>, Broken> {
        match url.host() {
            Some(Host::Ipv4(v4)) => Ok(vec![v4.into()]),
            Some(Host::Ipv6(v6)) => Ok(vec![v6.into()]),
            Some(Host::Domain(name)) => self.look_up(name, check, first).await,
            None => {
                let detail = "redirected to a URL without a host";
                Err(Broken::theirs(FailureClass::Redirect, Phase::FirstByte, detail))
            }
        }
    }

    async fn look_up(&self, name: &str, check: &mut Check, first: bool) -> Result<Vec<IpAddr>, Broken> {
        let began = Instant::now();
        if first {
            check.dns.start = Some(check.clock.unix_seconds(began));
        }
        let pending = LookupTimer { began, elapsed: first.then_some(&mut check.dns.elapsed) };
        let resolved = self.resolver.resolve(name, check.deadline).await;
        drop(pending);
        let broken = match resolved {
            Resolved::Addresses(addresses) => return Ok(addresses),
            Resolved::Nothing(detail) | Resolved::Failed(detail) => {
                Broken::theirs(FailureClass::Dns, Phase::Dns, detail)
            }
            Resolved::Unreachable(detail) => Broken::ours(FailureClass::Resolver, Phase::Dns, detail),
            Resolved::NoResources(error) => Broken::ours(FailureClass::Resources, Phase::Dns, error),
        };
        if first {
            let (Broken::Theirs(failure) | Broken::Ours(failure)) = &broken;
            check.dns.error = Some(failure.detail.clone());
        }
        Err(broken)
    }

    /// One request, up to the response head, over the first address that connects.
    pub(super) async fn reach(
        &self,
        (ask, cookies): (&Ask, &Jar),
        found: Vec<IpAddr>,
        check: &mut Check,
        first: bool,
    ) -> Result<Response, Broken> {
        check.misses.clear();
        let name = ask.url.domain();
        let mut ahead = Ahead {
            addresses: VecDeque::new(),
            port: ask.url.port_or_known_default().unwrap_or(80),
            redirected_from: check.dns.ip.as_deref().filter(|_| !first).and_then(|from| from.parse().ok()),
            other_family_of: name.zip(found.first().copied()),
            theirs: false,
            refusal: None,
            unknown: None,
        };
        if first {
            check.dns.ip = found.first().map(ToString::to_string);
        }
        self.admit(found, &mut ahead, check);
        loop {
            if ahead.addresses.is_empty()
                && let Some((name, known)) = ahead.other_family_of.take()
            {
                let others = self.resolver.others(name, known, check.deadline).await;
                self.take(others, &mut ahead, check);
            }
            let Some(ip) = ahead.addresses.pop_front() else {
                return Err(ahead.all_missed(&check.misses));
            };
            if first {
                check.dns.ip = Some(ip.to_string());
                check.dns.failed_addresses.clone_from(&check.misses);
            }
            if let Some(response) = self.attempt((ask, cookies), ip, &mut ahead, check).await? {
                return Ok(response);
            }
        }
    }

    fn take(&self, others: Result<Vec<IpAddr>, String>, ahead: &mut Ahead<'_>, check: &mut Check) {
        match others {
            Ok(found) => self.admit(found, ahead, check),
            Err(why) => ahead.unknown = Some(why),
        }
    }

    /// Takes what the guard lets through and what a site can have; the rest is never connected to.
    fn admit(&self, mut found: Vec<IpAddr>, ahead: &mut Ahead<'_>, check: &mut Check) {
        found.truncate(MOST_ADDRESSES - check.misses.len().min(MOST_ADDRESSES));
        sort(&mut found, |address| source(address).ok());
        for ip in found {
            let redirect = ahead.redirected_from.map_or(Ok(()), |from| self.guard.check_redirect(from, ip));
            if let Err(refusal) = self.guard.check(ip).and(redirect).and(self.guard.check_port(ahead.port)) {
                check.miss(ip, &refusal);
                ahead.refusal.get_or_insert(refusal);
            } else if let Some(why) = impossible(ip) {
                ahead.theirs = true;
                check.miss(ip, &why);
            } else {
                ahead.addresses.push_back(ip);
            }
        }
    }

    /// One request to one address; nothing if there is no connection to it, and the next one's turn has come.
    async fn attempt(
        &self,
        (ask, cookies): (&Ask, &Jar),
        ip: IpAddr,
        ahead: &mut Ahead<'_>,
        check: &mut Check,
    ) -> Result<Option<Response>, Broken> {
        let address = SocketAddr::new(ip, ahead.port);
        let trace = Arc::new(Trace::new(address));
        check.trace = trace.clone();
        let began = Instant::now();
        let mut request = pin!(trace.follow(self.client.execute(ask.request(cookies), ask.http_version)));
        let answered = match ahead.share(check.deadline - began) {
            None => request.await,
            Some(share) => match timeout(share, &mut request).await {
                Ok(answered) => answered,
                Err(_) if trace.phase() != Phase::Connect => request.await,
                Err(_) => match self.other_family(&mut request, ahead, check).await {
                    Some(answered) => answered,
                    None if ahead.addresses.is_empty() => request.await,
                    None => {
                        ahead.theirs = true;
                        check.miss(ip, &format!("no answer within {:.1?}", began.elapsed()));
                        return Ok(None);
                    }
                },
            },
        };
        let error = match answered {
            Ok(response) => return Ok(Some(response)),
            Err(error) => error,
        };
        if trace.phase() != Phase::Connect {
            return Err(broken(&trace, error.as_ref()));
        }
        let cause = find::<io::Error>(error.as_ref()).and_then(ours);
        if cause == Some(Ours::Exhausted) {
            return Err(Broken::ours(FailureClass::Resources, Phase::Connect, root_cause(error.as_ref())));
        }
        let is_broadcast = source(ip).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        ahead.theirs |= cause.is_none() || is_broadcast;
        let what = if is_broadcast { "a broadcast address".to_owned() } else { root_cause(error.as_ref()) };
        check.miss(ip, &format!("{what}, after {:.1?}", began.elapsed()));
        Ok(None)
    }

    /// Looks the other family up while a connection is still waited for, which may stand before.
    async fn other_family(
        &self,
        request: impl Future<Output = Result<Response, AnyError>>,
        ahead: &mut Ahead<'_>,
        check: &mut Check,
    ) -> Option<Result<Response, AnyError>> {
        if !ahead.addresses.is_empty() {
            return None;
        }
        let (name, known) = ahead.other_family_of.take()?;
        tokio::select! {
            biased;
            answered = request => {
                ahead.other_family_of = Some((name, known));
                Some(answered)
            }
            others = self.resolver.others(name, known, check.deadline) => {
                self.take(others, ahead, check);
                None
            }
        }
    }
}

impl Ahead<'_> {
    /// How much of the time that is left is one address's, if others come after it.
    fn share(&self, left: Duration) -> Option<Duration> {
        let others = self.addresses.len() + usize::from(self.other_family_of.is_some());
        (others > 0).then(|| left / u32::try_from(others + 1).unwrap_or(u32::MAX))
    }

    /// What to say when there is no connection to any address.
    fn all_missed(self, misses: &[FailedAddress]) -> Broken {
        let detail = match misses {
            [one] => format!("no connection to {}: {}", one.ip, one.detail),
            all => format!("no connection to any of {} addresses: {}", all.len(), in_words(all)),
        };
        if let Some(why) = self.unknown {
            let detail = format!("{detail}; whether it has others nobody could say: {why}");
            return Broken::ours(FailureClass::Resolver, Phase::Connect, detail);
        }
        match self.refusal {
            Some(refusal) if !self.theirs => Broken::theirs(FailureClass::Blocked, Phase::Connect, refusal),
            _ if self.theirs => Broken::theirs(FailureClass::Connect, Phase::Connect, detail),
            _ => Broken::ours(FailureClass::Resources, Phase::Connect, detail),
        }
    }
}

impl Check {
    fn miss(&mut self, ip: IpAddr, detail: &str) {
        self.misses.push(FailedAddress { ip: ip.to_string(), detail: detail.to_owned() });
    }
}

/// What became of addresses.
pub(super) fn in_words(misses: &[FailedAddress]) -> String {
    misses.iter().map(|miss| format!("{}: {}", miss.ip, miss.detail)).collect::<Vec<_>>().join("; ")
}

/// Where this machine would connect from. Nothing is sent.
fn source(to: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// Writes the time of a lookup when it ends, be it by the check's deadline.
struct LookupTimer<'a> {
    began: Instant,
    elapsed: Option<&'a mut Option<u64>>,
}

impl Drop for LookupTimer<'_> {
    fn drop(&mut self) {
        if let Some(elapsed) = &mut self.elapsed {
            **elapsed = Some(micros(self.began.elapsed()));
        }
    }
}
