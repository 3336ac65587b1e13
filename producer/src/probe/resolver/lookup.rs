//! One lookup of one name, for as long as its check has time.
//!
//! It asks in rounds: the name at each server in turn, then all servers the question for the root zone. No earlier question is given up, so
//! that a late answer counts as well as a quick one. The name is blamed only when the same server has answered for the root both before and
//! after it was asked for the name and did not tell it: then the server was there in between. So servers that fall silent and come back at
//! any instant make no name look dead.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Resolved;
use super::message::{Nothing, Said, Why};
use super::server::{Reply, Way, ask, is_alive};
use crate::probe::ours::ours;

/// The ways of a server's first question, its second, and so on.
const WAYS: [Way; 3] = [Way::Extended, Way::Plain, Way::Tcp];

/// How many questions for one name stay open at one server, the first among them: each holds a descriptor.
const MOST_OPEN: usize = 4;

type Coming<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// What was asked of whom.
#[derive(Clone, Copy)]
struct Asked {
    round: usize,
    server: usize,
    /// Which of the families; `None` for the root.
    family: Option<usize>,
}

pub(super) struct Lookup<'a> {
    servers: &'a [SocketAddr],
    name: &'a Name,
    families: &'a [RecordType],
    /// How many of the families are being asked for: the second only when the first has not done.
    wanted: usize,
    nothing: Vec<Option<Nothing>>,
    /// What was asked and not answered yet, oldest first.
    open: Vec<(Asked, Coming<'a>)>,
    round: usize,
    /// How long a server may take before the next one is asked, too.
    patience: Duration,
    until: Instant,
    refusal: Option<ResponseCode>,
    trouble: Option<io::Error>,
    /// The server that answered for the root before the name was asked for last.
    witness: Option<usize>,
    alive: Option<usize>,
    proven: bool,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(servers: &'a [SocketAddr], name: &'a Name, families: &'a [RecordType], until: Instant) -> Self {
        Self {
            servers,
            name,
            families,
            wanted: 1,
            nothing: vec![None; families.len()],
            open: Vec::new(),
            round: 0,
            patience: Duration::ZERO,
            until,
            refusal: None,
            trouble: None,
            witness: None,
            alive: None,
            proven: false,
        }
    }

    /// Asks until there is an answer, or certainty that there is none. `timeout` is how long to wait for one server, or less, where
    /// the time does not suffice for two rounds.
    pub(super) async fn run(mut self, timeout: Duration) -> Resolved {
        let rounds = 2 * u32::try_from(self.servers.len()).unwrap_or(u32::MAX / 2) + 2;
        self.patience = timeout.min(self.until.saturating_duration_since(Instant::now()) / rounds);
        match timeout_at(self.until, self.ask()).await {
            Ok(resolved) => resolved,
            Err(_) => self.out_of_time(),
        }
    }

    async fn ask(&mut self) -> Resolved {
        loop {
            let began = Instant::now();
            self.refusal = None;
            if let Some(end) = self.ask_for_name().await {
                return end;
            }
            if !self.proven
                && let Some(end) = self.ask_for_root().await
            {
                return end;
            }
            if self.proven && self.refusal.is_some() {
                return self.out_of_time();
            }
            if let Some(end) = self.listen(began + self.patience / 2, |_| false).await {
                return end;
            }
            self.round += 1;
        }
    }

    /// Asks one server after the other for the name.
    async fn ask_for_name(&mut self) -> Option<Resolved> {
        for server in 0..self.servers.len() {
            let mut from = 0;
            while from < self.wanted {
                for family in (from..self.wanted).filter(|family| self.nothing[*family].is_none()).collect::<Vec<_>>() {
                    self.send(server, Some(family));
                }
                let patience = Instant::now() + self.patience;
                if let Some(end) = self.listen(patience, |this| !this.waits_for(server)).await {
                    return Some(end);
                }
                // Some have trouble with one family only. Whoever is silent is asked for the other one in the next round.
                from = if self.waits_for(server) { self.families.len() } else { self.wanted };
                self.wanted = self.families.len();
            }
            if let Some(end) = self.nothing() {
                return Some(end);
            }
        }
        None
    }

    /// Asks whether the servers answer anything now.
    async fn ask_for_root(&mut self) -> Option<Resolved> {
        self.alive = None;
        let witness = self.witness.take();
        for server in witness.map_or(0..self.servers.len(), |witness| witness..witness + 1) {
            self.send(server, None);
        }
        let patience = Instant::now() + self.patience;
        let enough = |this: &Self| this.alive.is_some() || this.open.iter().all(|(asked, _)| asked.family.is_some());
        let end = self.listen(patience, enough).await;
        self.proven = self.alive.is_some() && self.alive == witness;
        self.witness = self.alive;
        end
    }

    /// Whether a server owes an answer to a question of this round.
    fn waits_for(&self, server: usize) -> bool {
        self.open.iter().any(|(asked, _)| (asked.round, asked.server) == (self.round, server))
    }

    fn send(&mut self, server: usize, family: Option<usize>) {
        let alike = |(asked, _): &(Asked, _)| asked.server == server && asked.family == family;
        let open: Vec<usize> = (0..self.open.len()).filter(|at| alike(&self.open[*at])).collect();
        match family {
            Some(_) if open.len() == MOST_OPEN => drop(self.open.remove(open[1])),
            // Only what is asked of the root now tells anything.
            None if !open.is_empty() => drop(self.open.remove(open[0])),
            _ => {}
        }
        let (address, name, way) = (self.servers[server], self.name, WAYS[self.round % WAYS.len()]);
        let coming: Coming<'a> = match family.map(|family| self.families[family]) {
            Some(kind) => Box::pin(ask(address, name, kind, way)),
            None => Box::pin(is_alive(address, way)),
        };
        self.open.push((Asked { round: self.round, server, family }, coming));
    }

    /// The next reply to anything that was ever asked.
    async fn hear(&mut self) -> (Asked, Reply) {
        poll_fn(|context| {
            for at in 0..self.open.len() {
                if let Poll::Ready(reply) = self.open[at].1.as_mut().poll(context) {
                    return Poll::Ready((self.open.remove(at).0, reply));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes replies until then, or until enough was heard; ends with what ends the lookup.
    async fn listen(&mut self, until: Instant, enough: impl Fn(&Self) -> bool) -> Option<Resolved> {
        let mut pause = pin!(sleep_until(until));
        while !enough(self) {
            tokio::select! {
                biased;
                (asked, reply) = self.hear() => {
                    if let Some(end) = self.note(asked, reply) {
                        return Some(end);
                    }
                }
                () = &mut pause => break,
            }
        }
        None
    }

    fn note(&mut self, asked: Asked, reply: Reply) -> Option<Resolved> {
        match (asked.family, reply) {
            (None, Reply::Said(Said::Addresses(_))) => self.alive = Some(asked.server),
            (None, _) => {}
            (Some(_), Reply::Said(Said::Addresses(addresses))) => return Some(Resolved::Addresses(addresses)),
            (Some(family), Reply::Said(Said::Nothing(nothing))) => self.nothing[family] = Some(nothing),
            (Some(_), Reply::Said(Said::Refusal(code))) => self.refusal = Some(code),
            // An alias is followed where it was heard of.
            (Some(_), Reply::Said(Said::Alias(_))) => {}
            (Some(_), Reply::Nobody(error)) => self.trouble = Some(error),
            (Some(_), Reply::NoResources(error)) => return Some(Resolved::NoResources(error.to_string())),
        }
        None
    }

    /// The name has no address, once that is said of each family.
    fn nothing(&self) -> Option<Resolved> {
        let all: Vec<&Nothing> = self.nothing.iter().flatten().collect();
        // A name that exists exists in all families.
        let telling = all.iter().find(|nothing| nothing.why != Why::NoSuchName).or(all.first())?;
        (all.len() == self.families.len()).then(|| Resolved::Nothing(self.in_words(telling)))
    }

    fn in_words(&self, nothing: &Nothing) -> String {
        let name = shown(self.name);
        let which = match &nothing.alias_of {
            Some(alias) => format!("{name} is an alias of {}, which", shown(alias)),
            None => name,
        };
        match nothing.why {
            Why::NoSuchName => format!("{which} does not exist (NXDOMAIN)"),
            Why::NoAddress => format!("{which} has no address of the wanted family"),
            Why::Endless => format!("{which} leads through aliases without end"),
        }
    }

    /// What to say when there is no answer, and no more time or hope.
    fn out_of_time(&self) -> Resolved {
        let name = shown(self.name);
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        let servers = servers.join(", ");
        if let Some(trouble) = self.trouble.as_ref().filter(|_| !self.proven && self.refusal.is_none()) {
            return match ours(trouble) {
                Some(_) => Resolved::NoResources(format!("no way to name servers {servers}: {trouble}")),
                None => Resolved::Unreachable(format!("no answer from {servers}: {trouble}")),
            };
        }
        match (self.refusal, self.proven) {
            (Some(code), true) => Resolved::Failed(format!("name servers answer {code} for {name}")),
            (Some(code), false) => {
                Resolved::Unreachable(format!("name servers answer {code} for {name}, and for the root, too"))
            }
            (None, true) => {
                Resolved::Failed(format!("no answer for {name} from {servers}, which answer other questions"))
            }
            (None, false) => Resolved::Unreachable(format!("no answer from {servers}")),
        }
    }
}

/// A name as people write it.
fn shown(name: &Name) -> String {
    name.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(".")
}
