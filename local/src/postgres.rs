//! A real PostgreSQL from the installed server's binaries, on a loopback port of its own.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid};
use tokio_postgres::NoTls;
use url::Url;

use crate::certificate::Identity;
use crate::error::{Error, doing};
use crate::guard::{Guarded, User, send};
use crate::home::{Home, free_port, random};

const SUPERUSER: &str = "slotwatch";
/// How often a start is tried when another process takes the port first.
const PORT_ATTEMPTS: u32 = 5;
const CHILDREN_GONE_WITHIN: Duration = Duration::from_secs(5);
const REMEDY: &str = "install the PostgreSQL server (Debian: postgresql), or set POSTGRES_URL";

/// What a server of ours has that is not usual.
#[derive(Default)]
pub struct Options<'a> {
    /// Where its data are kept; without it they are in a temporary folder.
    pub data: Option<&'a Path>,
    /// Variables in its environment.
    pub variables: &'a [(&'static str, String)],
    /// What it proves itself with, by TLS. Then it lets nobody in without TLS but the superuser, for the tests' own looks.
    pub identity: Option<&'a Identity>,
}

/// A PostgreSQL server to talk to; one of ours ends when this is dropped, or when its owner ends.
pub struct Postgres {
    url: Url,
    server: Option<Server>,
}

struct Server {
    guarded: Guarded,
    program: PathBuf,
    /// Whom it runs as.
    user: Option<User>,
    port: u16,
    tls: bool,
    /// The processes that were frozen, to be released again.
    paused: Vec<Pid>,
}

impl Postgres {
    /// Starts a server with its data below `data`, or in a temporary folder.
    pub fn start(data: Option<&Path>) -> Result<Postgres, Error> {
        Postgres::start_with(&Options { data, ..Options::default() })
    }

    /// Starts a server that is not as usual.
    pub fn start_with(options: &Options<'_>) -> Result<Postgres, Error> {
        let &Options { data, variables, identity } = options;
        let binaries = binaries()?;
        let user = unprivileged_user()?;
        let home = Home::new(data, "postgres")?;
        // A fast shutdown writes everything out first, which is for nothing when the data are about to go.
        let signal = if home.keep { "INT" } else { "QUIT" };
        let mut guarded = Guarded::new("postgres", &home, user, signal)?;
        guarded.set_variables(variables);
        let program = binaries.join("postgres");
        let mut server = Server { guarded, program, user, port: 0, tls: false, paused: Vec::new() };
        let password = server.prepare(&binaries, &home)?;
        if let Some(identity) = identity {
            server.secure(identity)?;
        }
        let mut attempt = 1;
        loop {
            server.port = free_port();
            let url = Url::parse(&format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{}/postgres", server.port))?;
            match server.run(&url) {
                Err(_) if attempt < PORT_ATTEMPTS && server.guarded.log_says("Address already in use") => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(Postgres { url, server: Some(server) }),
            }
        }
    }

    /// The server that `POSTGRES_URL` names, if it names one.
    pub fn given() -> Result<Option<Postgres>, Error> {
        let url = env::var("POSTGRES_URL").ok().filter(|url| !url.is_empty());
        url.map(|url| Ok(Postgres { url: Url::parse(&url)?, server: None })).transpose()
    }

    /// `postgres://user:password@host:port/database`, with the rights of a superuser if the server is ours.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Creates a database and returns its URL.
    pub fn create_database(&self, name: &str) -> Result<String, Error> {
        execute(&self.url, &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")))?;
        let mut url = self.url.clone();
        url.set_path(name);
        Ok(url.to_string())
    }

    /// Gives the server something else to prove itself with, and starts it again with that.
    pub fn change_identity(&mut self, identity: &Identity) -> Result<(), Error> {
        self.own()?.secure(identity)?;
        self.stop()?;
        self.start_again()
    }

    /// The process id of our own server, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let pid = self.server.as_ref()?.guarded.pid()?;
        Some(pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// The folder of our own server.
    pub fn folder(&self) -> Option<&Path> {
        self.server.as_ref().map(|server| server.guarded.home())
    }

    /// Shuts the server down, cutting off its clients, and waits for it; its data and its port stay.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.own()?.guarded.end(Signal::INT)
    }

    /// Kills the server and every process of it where they stand; its data and its port stay.
    pub fn kill(&mut self) -> Result<(), Error> {
        let server = self.own()?;
        // Frozen, it starts no further process while we collect them.
        server.guarded.signal(Signal::STOP)?;
        let children = server.children();
        server.guarded.end(Signal::KILL)?;
        for child in &children {
            send(*child, Signal::KILL)?;
        }
        // A new server refuses the data folder while an old one's process still holds the shared memory.
        let deadline = Instant::now() + CHILDREN_GONE_WITHIN;
        while children.iter().any(|child| runs(*child)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Starts a server that was stopped or killed, on the same port and the same data.
    pub fn start_again(&mut self) -> Result<(), Error> {
        let url = self.url.clone();
        self.own()?.run(&url)
    }

    /// Freezes the server and its connections: they stay open and nothing answers.
    pub fn pause(&mut self) -> Result<(), Error> {
        let server = self.own()?;
        server.guarded.signal(Signal::STOP)?;
        server.paused = server.children();
        server.paused.iter().try_for_each(|child| send(*child, Signal::STOP))
    }

    /// Lets a frozen server go on.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.own()?.resume()
    }

    fn own(&mut self) -> Result<&mut Server, Error> {
        self.server.as_mut().ok_or(Error::NotOurs("Postgres"))
    }
}

impl Drop for Server {
    /// A frozen process does not take notice of its server's end, and the server waits for it.
    fn drop(&mut self) {
        // What cannot be woken is killed by the server in the end.
        let _ = self.resume();
    }
}

impl Server {
    /// Creates the data when the folder is new, and returns the superuser's password, kept beside them.
    fn prepare(&mut self, binaries: &Path, home: &Home) -> Result<String, Error> {
        let password_file = home.path.join("password");
        if home.path.join("data/PG_VERSION").exists() {
            return fs::read_to_string(&password_file).map_err(doing(format!("reading {}", password_file.display())));
        }
        let password = random()?;
        self.write("password", &password)?;
        self.give_away(&home.path)?;
        let mut arguments = ["-D", "data", "-U", SUPERUSER, "--pwfile=password", "--auth=scram-sha-256"].to_vec();
        arguments.extend(["--encoding=UTF8", "--locale=C", "--no-instructions"]);
        if !home.keep {
            // Only what this preparation writes goes without fsync; the server itself keeps every promise.
            arguments.push("--no-sync");
        }
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        self.guarded.run(&binaries.join("initdb"), &arguments)?;
        Ok(password)
    }

    /// Gives the server what it proves itself with from its next start on.
    fn secure(&mut self, identity: &Identity) -> Result<(), Error> {
        self.tls = true;
        self.write("server.crt", &identity.certificate_pem())?;
        self.write("server.key", identity.key_pem())?;
        let only_by_tls =
            format!("host all {SUPERUSER} samehost scram-sha-256\nhostssl all all samehost scram-sha-256\n");
        self.write("pg_hba.conf", &only_by_tls)
    }

    /// Writes a file that only the server can read, which it insists on for its key.
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.guarded.home().join(name);
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(doing(format!("writing {}", path.display())))?;
        self.give_away(&path)
    }

    fn give_away(&self, path: &Path) -> Result<(), Error> {
        let Some(User { uid, gid }) = self.user else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(doing(format!("giving away {}", path.display())))
    }

    fn run(&mut self, url: &Url) -> Result<(), Error> {
        let port = format!("port={}", self.port);
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=on"];
        let tls = ["ssl=on", "ssl_cert_file=../server.crt", "ssl_key_file=../server.key", "hba_file=pg_hba.conf"];
        let tls = tls.into_iter().filter(|_| self.tls);
        let settings = settings.into_iter().chain([port.as_str()]).chain(tls).flat_map(|setting| ["-c", setting]);
        let arguments: Vec<String> = ["-D", "data"].into_iter().chain(settings).map(str::to_owned).collect();
        let port = self.port;
        self.guarded.start(&self.program, &arguments, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() && execute(url, "SELECT 1").is_ok()
        })
    }

    fn resume(&mut self) -> Result<(), Error> {
        self.paused.drain(..).try_for_each(|child| send(child, Signal::CONT))?;
        self.guarded.signal(Signal::CONT)
    }

    fn children(&self) -> Vec<Pid> {
        let Some(pid) = self.guarded.pid().map(|pid| pid.as_raw_nonzero()) else { return Vec::new() };
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
    }
}

/// Whether a process that is not our child still runs; one that nobody has waited for does not.
fn runs(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// Runs one statement. This has a thread of its own because the caller may, or may not, be inside a runtime.
fn execute(url: &Url, statement: &str) -> Result<(), Error> {
    let run = async || {
        let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await?;
        tokio::select! {
            outcome = client.batch_execute(statement) => outcome,
            ended = connection => ended,
        }
    };
    let body = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(runtime.map_err(doing("starting a runtime"))?.block_on(run())?)
    };
    thread::scope(|scope| scope.spawn(body).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The folder of the server's programs, which many distributions keep off the search path.
fn binaries() -> Result<PathBuf, Error> {
    let said = Command::new("pg_config").arg("--bindir").output().ok();
    let said = said.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut versions: Vec<_> = ["/usr/lib/postgresql", "/usr/libexec/postgresql", "/opt/homebrew/opt"]
        .into_iter()
        .flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect();
    versions.sort_by_key(|path| std::cmp::Reverse(version(path)));
    let search: OsString = env::var_os("PATH").unwrap_or_default();
    said.into_iter()
        .chain(versions.into_iter().map(|path| path.join("bin")))
        .chain(env::split_paths(&search))
        .find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
        .ok_or(Error::Missing { program: "postgres", remedy: REMEDY })
}

/// The number that a path ends in: version 9 must not come out above version 15.
fn version(path: &Path) -> u32 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// PostgreSQL refuses to run as root, so root runs it as the user made for it, or as nobody.
pub(crate) fn unprivileged_user() -> Result<Option<User>, Error> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let id = |flag: &str, name: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    let user = |name| Some(User { uid: id("-u", name)?, gid: id("-g", name)? });
    let found = user("postgres").or_else(|| user("nobody"));
    found.map(Some).ok_or(Error::Missing {
        program: "an unprivileged user (postgres or nobody)",
        remedy: "create one, or run this as another user than root",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_versions_are_ordered_by_number() {
        let of = |path: &str| version(Path::new(path));
        assert_eq!((of("/usr/lib/postgresql/9"), of("/usr/lib/postgresql/15")), (9, 15));
        assert_eq!((of("/opt/homebrew/opt/postgresql@17"), of("/opt/homebrew/opt/wget")), (17, 0));
    }
}
