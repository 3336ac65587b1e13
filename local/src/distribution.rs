//! The programs of a Kafka broker: a Java runtime, the libraries, and the archive that makes them load quickly.
//!
//! Libraries come from the distribution that `KAFKA_HOME` names, or from Maven Central through `mvn`, once, into
//!
//! ```text
//! $XDG_CACHE_HOME or ~/.cache
//!   slotwatch/kafka-<version>.lock      held while any of the following is made
//!   slotwatch/kafka-<version>/libs/     the libraries; this folder appears complete or not at all
//!   slotwatch/kafka-<version>/<id>.jsa  the class archive, one for each Java runtime that was used
//! ```

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, doing};

const POM: &str = include_str!("../kafka/pom.xml");
const MINIMUM_JAVA: u32 = 17;

/// What it takes to run a broker.
pub(crate) struct Distribution {
    pub(crate) java: PathBuf,
    /// Every library by name: a class archive is only accepted with the very class path it was made with.
    pub(crate) classpath: String,
    /// Where the class archive is or belongs; none for libraries that are not ours.
    pub(crate) archive: Option<PathBuf>,
}

impl Distribution {
    /// Finds the parts, and downloads the libraries when they have not been yet.
    pub(crate) fn find() -> Result<Distribution, Error> {
        let java = java()?;
        if let Some(home) = env::var_os("KAFKA_HOME").filter(|home| !home.is_empty()) {
            let classpath = classpath(&PathBuf::from(home).join("libs"))?;
            return Ok(Distribution { java, classpath, archive: None });
        }
        let folder = folder();
        let libraries = folder.join("libs");
        if !libraries.exists() {
            let _lock = lock()?;
            if !libraries.exists() {
                download(&folder)?;
            }
        }
        let archive = Some(folder.join(format!("{}.jsa", identity(&java))));
        Ok(Distribution { java, classpath: classpath(&libraries)?, archive })
    }
}

/// Holds every other process off the cache until it is dropped.
pub(crate) fn lock() -> Result<File, Error> {
    let path = folder().with_added_extension("lock");
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(doing(format!("creating {}", parent.display())))?;
    let file = File::create(&path).map_err(doing(format!("creating {}", path.display())))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another process that is preparing Kafka");
        file.lock().map_err(doing(format!("locking {}", path.display())))?;
    }
    Ok(file)
}

fn folder() -> PathBuf {
    cache().join(format!("kafka-{}", version()))
}

/// Where everything is kept that was fetched once.
pub(crate) fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("slotwatch")
}

fn version() -> &'static str {
    let (_, rest) = POM.split_once("<kafka.version>").unwrap_or_default();
    rest.split('<').next().unwrap_or_default()
}

fn java() -> Result<PathBuf, Error> {
    let home = env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let java = home.map_or_else(|| PathBuf::from("java"), |home| PathBuf::from(home).join("bin/java"));
    let output = Command::new(&java).arg("-version").output();
    let output = output.map_err(|error| Error::NoJava(format!("{}: {error}", java.display())))?;
    let banner = String::from_utf8_lossy(&output.stderr).into_owned();
    match java_version(&banner) {
        Some(version) if version >= MINIMUM_JAVA => Ok(java),
        _ => Err(Error::NoJava(banner.lines().next().unwrap_or("it does not say its version").to_owned())),
    }
}

/// The major version in the banner's `version "17.0.15"`; before Java 9 this was `version "1.8.0_392"`.
fn java_version(banner: &str) -> Option<u32> {
    let (_, rest) = banner.split_once("version \"")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A class archive fits only the Java runtime that wrote it, so its name changes when the runtime is upgraded.
fn identity(java: &Path) -> String {
    let program = env::var_os("PATH").unwrap_or_default();
    let program = env::split_paths(&program).map(|folder| folder.join(java)).find(|program| program.exists());
    let program = program.and_then(|program| program.canonicalize().ok()).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    program.hash(&mut hasher);
    if let Ok(metadata) = fs::metadata(&program) {
        (metadata.len(), metadata.modified().ok()).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn classpath(libraries: &Path) -> Result<String, Error> {
    let entries = fs::read_dir(libraries).map_err(doing(format!("reading {}", libraries.display())))?;
    let mut jars: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().to_string_lossy().into_owned()))
        .filter(|path| path.ends_with(".jar"))
        .collect();
    jars.sort();
    Ok(jars.join(":"))
}

fn download(folder: &Path) -> Result<(), Error> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let staging = tempfile::Builder::new().prefix(".kafka-").tempdir_in(parent);
    let staging = staging.map_err(doing(format!("creating a folder in {}", parent.display())))?;
    fs::write(staging.path().join("pom.xml"), POM).map_err(doing("writing the list of libraries"))?;
    eprintln!("downloading Apache Kafka {} (about 45 MB, once) into {}", version(), folder.display());
    // Maven writes colour codes there whatever it is told, and otherwise only what matters when it fails.
    let errors = staging.path().join("errors");
    let errors_file = File::create(&errors).map_err(doing("creating a file for what mvn says"))?;
    let mut maven = Command::new("mvn")
        .args(["--batch-mode", "--update-snapshots", "-Dstyle.color=never", "dependency:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-DoutputDirectory=libs"])
        .current_dir(staging.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors_file)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::Missing { program: "mvn", remedy: "install Apache Maven, or unpack Kafka and set KAFKA_HOME" }
            }
            _ => doing("starting mvn")(error),
        })?;
    let complaints = follow(maven.stdout.take());
    if !maven.wait().map_err(doing("waiting for mvn"))?.success() {
        return Err(Error::Download(complaints + &fs::read_to_string(&errors).unwrap_or_default()));
    }
    // A temporary folder is private, while a cache may be shared: only the complete `libs` moves.
    fs::create_dir_all(folder).map_err(doing(format!("creating {}", folder.display())))?;
    fs::rename(staging.path().join("libs"), folder.join("libs"))
        .map_err(doing(format!("moving the libraries into {}", folder.display())))
}

/// Shows which library has arrived while Maven works, and returns what it complained of.
fn follow(output: Option<impl io::Read>) -> String {
    let mut complaints = Vec::new();
    let terminal = io::stderr().is_terminal();
    for line in output.map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        if let Some(complaint) = line.strip_prefix("[ERROR] ") {
            complaints.push(complaint.to_owned());
        }
        let file = line.contains("Downloaded from").then(|| line.rsplit('/').nth(1)).flatten();
        if let Some(file) = file.filter(|file| terminal && file.contains(".jar")) {
            eprint!("\r\x1b[K  {file}");
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
        // Progress that cannot be shown is no reason to fail.
        let _ = io::stderr().flush();
    }
    complaints.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read_from_its_banner() {
        assert_eq!(java_version("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(java_version("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_version("java version \"1.8.0_392\""), Some(1));
        assert_eq!(java_version("command not found"), None);
    }

    #[test]
    fn the_version_of_kafka_is_read_from_the_project_file() {
        assert!(version().starts_with("4."), "{}", version());
    }
}
