//! Where a service keeps its data, and the ports it listens on.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, doing};

/// A service's folder: temporary, and gone with the service, or named, and kept.
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    pub(crate) keep: bool,
}

impl Home {
    /// The folder `service` below `data`, or the path of a temporary one that is to be made when somebody is there to
    /// remove it.
    pub(crate) fn new(data: Option<&Path>, service: &str) -> Result<Home, Error> {
        match data {
            Some(data) => {
                let path = data.join(service);
                fs::create_dir_all(&path).map_err(doing(format!("creating {}", path.display())))?;
                let path = path.canonicalize().map_err(doing(format!("resolving {}", path.display())))?;
                Ok(Home { path, keep: true })
            }
            None => {
                let path = std::env::temp_dir().join(format!("slotwatch-{service}-{}", &random()?[..16]));
                let path = std::path::absolute(&path).map_err(doing(format!("resolving {}", path.display())))?;
                Ok(Home { path, keep: false })
            }
        }
    }
}

/// A loopback port that is free at this moment.
///
/// Ports come from below the range that the system hands out to outgoing connections: a client that keeps calling a
/// stopped service on a port of that range sooner or later gets it as its own and is connected to itself, and the
/// service cannot come back. None is given out twice, since a service that is stopped wants its own again. Another
/// process may still be quicker, so whoever binds must be ready to ask again.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    (0..u64::MAX)
        .map(|attempt| 15_000 + (RandomState::new().hash_one(attempt) % 15_000) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok() && given.insert(*port))
        .unwrap_or_default()
}

/// 32 hexadecimal digits that nobody can guess.
pub(crate) fn random() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let source = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    source.map_err(doing("reading /dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
