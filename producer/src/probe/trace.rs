//! Where a hop stands: instants noted by the hooks in the client, in the task that runs the check.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use shared::message::{Phase, Phases};
use tokio::time::Instant;

use super::connection::Connection;
use super::micros;

tokio::task_local! {
    /// The hop whose request the current task is polling. The client has no other way to tell its hooks apart.
    static CURRENT: Arc<Trace>;
}

/// One request to one address.
#[derive(Debug, Default)]
pub(super) struct Trace {
    address: Option<SocketAddr>,
    marks: Mutex<Marks>,
}

/// When each phase began; a later phase ends the one before.
#[derive(Debug, Default)]
struct Marks {
    connect: Option<Instant>,
    tls: Option<Instant>,
    established: Option<Instant>,
    head: Option<Instant>,
    end: Option<Instant>,
    certificate_expires_at: Option<Timestamp>,
    certificate_fault: Option<String>,
    client_certificate_wanted: bool,
    /// What stands, until somebody speaks on it.
    connection: Option<Connection>,
}

impl Trace {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address: Some(address), marks: Mutex::default() }
    }

    /// Runs a future whose hooks note their marks here.
    pub(super) fn follow<F: Future>(self: &Arc<Self>, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), future)
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        // A mark is a plain store: there is nothing that a panic could leave half done.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head_came(&self) {
        self.marks().head = Some(Instant::now());
    }

    pub(super) fn body_ended(&self) {
        self.marks().end = Some(Instant::now());
    }

    pub(super) fn phase(&self) -> Phase {
        let marks = self.marks();
        if marks.head.is_some() {
            Phase::Transfer
        } else if marks.established.is_some() {
            Phase::FirstByte
        } else if marks.tls.is_some() {
            Phase::Tls
        } else if self.address.is_some() {
            Phase::Connect
        } else {
            Phase::Dns
        }
    }

    /// The durations of the phases that began; one that has not ended lasts until `now`.
    pub(super) fn phases(&self, now: Instant) -> Phases {
        let marks = self.marks();
        let lasted = |began: Option<Instant>, ends: &[Option<Instant>]| {
            let end = ends.iter().copied().flatten().next().unwrap_or(now);
            began.map(|began| micros(end.saturating_duration_since(began)))
        };
        Phases {
            redirect: None,
            connect: lasted(marks.connect, &[marks.tls, marks.established]),
            tls: lasted(marks.tls, &[marks.established]),
            first_byte: lasted(marks.established, &[marks.head]),
            transfer: lasted(marks.head, &[marks.end]),
        }
    }

    pub(super) fn certificate_expires_at(&self) -> Option<Timestamp> {
        self.marks().certificate_expires_at
    }

    pub(super) fn certificate_fault(&self) -> Option<String> {
        self.marks().certificate_fault.take()
    }

    /// Whether the server has asked who we are.
    pub(super) fn client_certificate_wanted(&self) -> bool {
        self.marks().client_certificate_wanted
    }
}

/// The address that the current hop goes to.
pub(super) fn address() -> Option<SocketAddr> {
    CURRENT.try_with(|trace| trace.address).ok().flatten()
}

fn note(set: impl FnOnce(&mut Marks)) {
    // Outside of a hop there is nobody to tell.
    let _ = CURRENT.try_with(|trace| set(&mut trace.marks()));
}

/// A hop that connects once more has connected since its first attempt.
pub(super) fn connect_began() {
    note(|marks| {
        marks.connect.get_or_insert_with(Instant::now);
        (marks.tls, marks.established) = (None, None);
    });
}

pub(super) fn tls_began() {
    note(|marks| marks.tls = Some(Instant::now()));
}

pub(super) fn established(connection: Connection) {
    note(|marks| {
        marks.established = Some(Instant::now());
        marks.connection = Some(connection);
    });
}

pub(super) fn take_connection() -> Option<Connection> {
    CURRENT.try_with(|trace| trace.marks().connection.take()).ok().flatten()
}

pub(super) fn certificate(expires_at: Option<Timestamp>) {
    note(|marks| marks.certificate_expires_at = expires_at);
}

pub(super) fn certificate_refused(reason: String) {
    note(|marks| marks.certificate_fault = Some(reason));
}

pub(super) fn client_certificate_wanted() {
    note(|marks| marks.client_certificate_wanted = true);
}
