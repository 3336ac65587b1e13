//! What can happen to the system, drawn from a seed.

use std::time::Duration;

use fastrand::Rng;

/// The time between two faults, on average.
const PAUSE: Duration = Duration::from_secs(3);

/// A part of the system; each suffers one fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// The producer.
    Producer,
    /// One of the two consumers.
    Consumer(usize),
    /// The broker.
    Kafka,
    /// The database server.
    Postgres,
    /// One of the connections between a process of ours and a service or a website.
    Link(usize),
    /// What is in the topic.
    Topic,
}

/// How many consumers share the topic.
pub(super) const CONSUMERS: usize = 2;
/// The producer's connection to Kafka, then each consumer's, then each consumer's to Postgres, then the producer's to a website.
pub(super) const LINKS: usize = 2 + 2 * CONSUMERS;

/// What happens to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `kill -9`, and a new start.
    Kill,
    /// SIGTERM, and a new start.
    Stop,
    /// SIGSTOP, and SIGCONT.
    Freeze,
    /// Connections are reset; new ones succeed.
    Reset,
    /// Connections are reset, and new ones too.
    Cut,
    /// Nothing passes; connections stand.
    Stall,
    /// What the service answers does not pass.
    Deaf,
    /// Everything passes slowly.
    Slow,
    /// Records that are no results.
    Poison,
    /// Results that are in the topic already.
    Echo,
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// Whom it strikes.
    pub(super) part: Part,
    /// What it is.
    pub(super) kind: Kind,
    /// How long it lasts: until the new start, or until things are well again.
    pub(super) lasts: Duration,
}

/// Every fault by its name, with the parts that it can strike and the seconds that it lasts at most.
const FAULTS: [(&str, &[Part], Kind, f32); 19] = {
    const CONSUMER: &[Part] = &[Part::Consumer(0), Part::Consumer(1)];
    const LINK: &[Part] = &[Part::Link(0), Part::Link(1), Part::Link(2), Part::Link(3), Part::Link(4), Part::Link(5)];
    [
        ("producer-kill", &[Part::Producer], Kind::Kill, 3.0),
        ("producer-stop", &[Part::Producer], Kind::Stop, 3.0),
        ("producer-freeze", &[Part::Producer], Kind::Freeze, 10.0),
        ("consumer-kill", CONSUMER, Kind::Kill, 5.0),
        ("consumer-stop", CONSUMER, Kind::Stop, 5.0),
        ("consumer-freeze", CONSUMER, Kind::Freeze, 20.0),
        ("kafka-kill", &[Part::Kafka], Kind::Kill, 5.0),
        ("kafka-stop", &[Part::Kafka], Kind::Stop, 5.0),
        ("kafka-freeze", &[Part::Kafka], Kind::Freeze, 8.0),
        ("postgres-kill", &[Part::Postgres], Kind::Kill, 5.0),
        ("postgres-stop", &[Part::Postgres], Kind::Stop, 5.0),
        ("postgres-freeze", &[Part::Postgres], Kind::Freeze, 8.0),
        ("link-reset", LINK, Kind::Reset, 0.0),
        ("link-cut", LINK, Kind::Cut, 8.0),
        ("link-stall", LINK, Kind::Stall, 15.0),
        ("link-deaf", LINK, Kind::Deaf, 15.0),
        ("link-slow", LINK, Kind::Slow, 15.0),
        ("poison", &[Part::Topic], Kind::Poison, 0.0),
        ("echo", &[Part::Topic], Kind::Echo, 0.0),
    ]
};

/// The names of all faults.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|(name, ..)| *name)
}

/// An endless row of faults: the wait before each, its name, and what it is.
pub(super) struct Faults {
    rng: Rng,
    names: Vec<&'static str>,
}

impl Faults {
    /// The row of this seed, of faults with these names only.
    pub(super) fn new(seed: u64, names: &[&'static str]) -> Self {
        Self { rng: Rng::with_seed(seed), names: names.to_vec() }
    }
}

impl Iterator for Faults {
    type Item = (Duration, &'static str, Fault);

    fn next(&mut self) -> Option<Self::Item> {
        let wait = PAUSE.mul_f32(-(1.0 - self.rng.f32()).ln());
        let name = *self.rng.choice(&self.names)?;
        let (_, parts, kind, seconds) = FAULTS.iter().find(|(known, ..)| *known == name)?;
        let part = *self.rng.choice(*parts)?;
        // Short ones are as likely as long ones: they end in the middle of what the long ones have brought about.
        let lasts = Duration::from_secs_f32(seconds * self.rng.f32() * self.rng.f32().sqrt());
        Some((wait, name, Fault { part, kind: *kind, lasts }))
    }
}
