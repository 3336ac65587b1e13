//! A PgBouncer before a PostgreSQL server, on a loopback port of its own.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use url::Url;

use crate::distribution::cache;
use crate::error::{Error, doing};
use crate::guard::Guarded;
use crate::home::{Home, free_port};
use crate::postgres::unprivileged_user;

const PORT_ATTEMPTS: u32 = 5;
const REMEDY: &str = "install PgBouncer (Debian: pgbouncer), or let local/setup.sh unpack it";

/// When a client gets another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With every connection.
    Session,
    /// With every transaction.
    Transaction,
    /// With every statement.
    Statement,
}

/// A pooler; it ends when this is dropped, or when its owner ends.
pub struct PgBouncer {
    url: Url,
    _guarded: Guarded,
}

impl PgBouncer {
    /// Starts one before the server and the database of a URL.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(postgres: &str, mode: Mode) -> Result<PgBouncer, Error> {
        let server = Url::parse(postgres)?;
        let home = Home::new(None, "pgbouncer")?;
        let user = unprivileged_user()?;
        let mut guarded = Guarded::new("pgbouncer", &home, user, "INT")?;
        let program = match installed() {
            Some(program) => program,
            None => {
                guarded.set_variables(&[("LD_LIBRARY_PATH", home.path.display().to_string())]);
                unpacked(&home.path)?
            }
        };
        let mut url = server.clone();
        let mut attempt = 1;
        loop {
            let port = free_port();
            // Rules of URLs alone would refuse a port.
            let _ = url.set_port(Some(port));
            for (name, text) in [("users.txt", users(&server)), ("pgbouncer.ini", settings(&server, mode, port))] {
                let path = home.path.join(name);
                fs::write(&path, text).map_err(doing(format!("writing {}", path.display())))?;
            }
            if let Some(user) = user {
                chown(&home.path, Some(user.uid), Some(user.gid)).map_err(doing("giving away a folder"))?;
            }
            let ready = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            match guarded.start(&program, &["pgbouncer.ini".to_owned()], ready) {
                Err(_) if attempt < PORT_ATTEMPTS && guarded.log_says("in use") => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(PgBouncer { url, _guarded: guarded }),
            }
        }
    }

    /// The URL of the same database through the pooler.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// Few sessions, so that clients have to share them.
fn settings(server: &Url, mode: Mode, port: u16) -> String {
    let (host, server_port) = (server.host_str().unwrap_or_default(), server.port().unwrap_or(5432));
    let mode = match mode {
        Mode::Session => "session",
        Mode::Transaction => "transaction",
        Mode::Statement => "statement",
    };
    format!(
        "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = users.txt\npool_mode = {mode}\ndefault_pool_size = 3\n\
         server_round_robin = 1\nmax_client_conn = 100\n"
    )
}

fn users(server: &Url) -> String {
    format!("\"{}\" \"{}\"\n", server.username(), server.password().unwrap_or_default())
}

fn installed() -> Option<PathBuf> {
    let search = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&search).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("pgbouncer")).find(|path| path.is_file())
}

/// Copies the one that was unpacked, with its libraries, to where an unprivileged user finds it.
fn unpacked(to: &Path) -> Result<PathBuf, Error> {
    let missing = |_| Error::Missing { program: "pgbouncer", remedy: REMEDY };
    for file in fs::read_dir(cache().join("pgbouncer")).map_err(missing)?.flatten() {
        fs::copy(file.path(), to.join(file.file_name()))
            .map_err(doing(format!("copying {}", file.path().display())))?;
    }
    Ok(to.join("pgbouncer"))
}
