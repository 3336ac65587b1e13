//! Prometheus' scrape configurations that go through blackbox_exporter: what is probed, how often, and by which module.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use shared::config::bounds::read_text;
use url::Url;

use super::blackbox::{Modules, Scrape};
use super::notes::{Gravity, Note};
use super::output::{Harvest, fit_interval, span};
use super::patterns::{Wanted, glob};
use super::relabel::{Labels, Step, relabel};
use super::yaml::Node;

/// What the exporter takes where no module is named.
const DEFAULT_MODULE: &str = "http_2xx";

/// Reads a file that a configuration names; tests have other ones.
pub(super) trait Files {
    /// The files whose path relative to the configuration fits a pattern, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn matching(&self, pattern: &str) -> Result<Vec<String>, String>;

    /// # Errors
    /// It cannot be read, or is not what its name says.
    fn read(&self, path: &str) -> Result<Rc<Node>, String>;
}

/// A target as Prometheus has it after relabelling.
struct Probe {
    job: String,
    labels: Labels,
    scrape: Scrape,
}

impl Probe {
    /// What is probed; the exporter, too, takes what has no scheme for HTTP.
    fn url(&self) -> Option<String> {
        let address = self.labels.get("__param_target")?;
        let has_scheme = address.starts_with("http://") || address.starts_with("https://");
        Some(if has_scheme { address.clone() } else { format!("http://{address}") })
    }

    /// The job, the host and the path, where they are not enough with the scheme. What else is in a URL may be a secret.
    fn name(&self, with_scheme: bool) -> String {
        let job = &self.job;
        let Some(url) = self.url() else { return job.clone() };
        let Ok(url) = Url::parse(&url) else {
            return if url.contains(['@', '?']) { job.clone() } else { format!("{job}/{url}") };
        };
        let scheme = if with_scheme { format!("{}://", url.scheme()) } else { String::new() };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let path = Some(url.path()).filter(|path| *path != "/").unwrap_or_default();
        format!("{job}/{scheme}{}{port}{path}", url.host_str().unwrap_or_default())
    }
}

pub(super) const EXPECTED: &str = "a configuration of Prometheus: a mapping with a list of scrape_configs";

/// Whether a node is a configuration of Prometheus, or a list of scrape configurations such as its operator takes beside its own.
pub(super) fn is_configuration(node: &Node) -> bool {
    let is_list = |key: &str| node.get(key).is_some_and(Node::is_list);
    is_list("scrape_configs") || is_list("scrape_config_files") || node.items().any(|job| job.get("job_name").is_some())
}

fn jobs(configuration: &Node) -> impl Iterator<Item = &Node> {
    configuration.items_of("scrape_configs").chain(configuration.items())
}

/// The targets of configurations of Prometheus that are probed through blackbox_exporter.
pub(super) fn import(prometheus: &[&Node], blackbox: &[&Node], files: &impl Files) -> Harvest {
    let global = scrape(
        prometheus.iter().find_map(|configuration| configuration.get("global")),
        Scrape { interval: Duration::from_secs(60), timeout: Duration::from_secs(10) },
    );
    let defaults = Scrape { timeout: global.timeout.min(global.interval), ..global };
    let mut harvest = Harvest::new("target", fit_interval(defaults.interval), defaults.limit(None));

    let mut probes = Vec::new();
    for job in prometheus.iter().flat_map(|configuration| jobs(configuration)) {
        read_job(job, global, files, &mut harvest, &mut probes);
    }
    let patterns = prometheus.iter().flat_map(|configuration| configuration.texts_of("scrape_config_files"));
    let paths: Vec<String> = patterns.flat_map(|pattern| found(files, "", pattern, &mut harvest)).collect();
    for path in paths {
        match files.read(&path) {
            Ok(file) => {
                for job in file.items_of("scrape_configs") {
                    read_job(job, global, files, &mut harvest, &mut probes);
                }
            }
            Err(reason) => {
                let text = format!("scrape_config_files: {path}: not carried over: {reason}");
                harvest.note(Gravity::LeftOut, text);
            }
        }
    }

    let modules: BTreeSet<String> = probes.iter().map(|probe| module_of(&probe.labels).to_owned()).collect();
    let modules = Modules::read(blackbox, &modules);
    let mut names: HashMap<String, usize> = HashMap::new();
    for probe in &probes {
        *names.entry(probe.name(false)).or_default() += 1;
    }
    for probe in probes {
        let name = probe.name(false);
        // The same host and path over HTTP and HTTPS, say. A name must not depend on the order in which they come.
        let name = if names.get(&name).is_some_and(|count| *count > 1) { probe.name(true) } else { name };
        add(probe, name, &modules, &mut harvest);
    }
    harvest
}

fn module_of(labels: &Labels) -> &str {
    labels.get("__param_module").map_or(DEFAULT_MODULE, String::as_str)
}

/// How often and how long something is scraped, where it does not say otherwise.
fn scrape(node: Option<&Node>, otherwise: Scrape) -> Scrape {
    let read = |key: &str| node.and_then(|node| span(node.text_of(key)?)).filter(|span| !span.is_zero());
    let interval = read("scrape_interval").unwrap_or(otherwise.interval);
    // Prometheus waits no longer than until the next scrape, unless it is told to.
    let timeout = read("scrape_timeout").unwrap_or(otherwise.timeout.min(interval));
    Scrape { interval, timeout }
}

fn read_job(job: &Node, global: Scrape, files: &impl Files, harvest: &mut Harvest, probes: &mut Vec<Probe>) {
    // The exporter has no other path. Whatever else Prometheus scrapes, with modules or without, is none of ours.
    if !job.text_of("metrics_path").is_some_and(|path| path.trim_end_matches('/').ends_with("/probe")) {
        return;
    }
    let name = job.text_of("job_name").unwrap_or("a job without a name");
    let steps: Result<Vec<Step>, String> = job.items_of("relabel_configs").map(Step::read).collect();
    let steps = match steps {
        Ok(steps) => steps,
        Err(reason) => return harvest.leave_out(&format!("job {name}"), format!("relabel_configs: {reason}")),
    };
    let names_target = job.get("params").is_some_and(|params| params.get("target").is_some());
    if !names_target && !steps.iter().any(Step::sets_probe) {
        return harvest.leave_out(&format!("job {name}"), "nothing in it says what the exporter is to probe");
    }
    for (key, _) in job.entries() {
        if key.ends_with("_sd_configs") && key != "file_sd_configs" {
            let text = format!("job {name}: {key}: not carried over: what it finds stands in no file");
            harvest.note(Gravity::LeftOut, text);
        }
        if key == "metric_relabel_configs" {
            let text = format!("job {name}: {key}: not carried over: there are no metrics of a target");
            harvest.note(Gravity::Harmless, text);
        }
    }
    let scrape = scrape(Some(job), global);
    let initial = initial(job, name, scrape);
    let mut take = |group: &Node| read_group(group, (name, scrape), &initial, &steps, probes);
    let mut labelled = 0;
    for group in job.items_of("static_configs") {
        labelled += take(group);
    }
    for pattern in job.items_of("file_sd_configs").flat_map(|config| config.texts_of("files")) {
        for path in found(files, name, pattern, harvest) {
            match files.read(&path) {
                Ok(file) => labelled += file.items().map(&mut take).sum::<usize>(),
                Err(reason) => {
                    let text = format!("job {name}: {path}: not carried over: {reason}");
                    harvest.note(Gravity::LeftOut, text);
                }
            }
        }
    }
    let reason = format!("labels of job {name}: not carried over: a target has no labels but its name");
    harvest.note_of(labelled, Gravity::Harmless, &reason);
}

/// The labels that targets of a job have unless they say otherwise.
fn initial(job: &Node, name: &str, scrape: Scrape) -> Labels {
    let mut labels = Labels::from([
        ("job".to_owned(), name.to_owned()),
        ("__scheme__".to_owned(), job.text_of("scheme").unwrap_or("http").to_owned()),
        ("__metrics_path__".to_owned(), job.text_of("metrics_path").unwrap_or("/metrics").to_owned()),
        ("__scrape_interval__".to_owned(), written(scrape.interval)),
        ("__scrape_timeout__".to_owned(), written(scrape.timeout)),
    ]);
    for (key, values) in job.entries_of("params") {
        if let Some(first) = values.items().find_map(Node::text) {
            labels.insert(format!("__param_{key}"), first.to_owned());
        }
    }
    labels
}

/// The files that a pattern stands for; none is something to say. A path that begins at the root is one of where Prometheus runs, so its
/// end is looked for beside the configuration, too.
fn found(files: &impl Files, job: &str, pattern: &str, harvest: &mut Harvest) -> Vec<String> {
    let place = if job.is_empty() { String::new() } else { format!("job {job}: ") };
    let mut tried = vec![pattern.to_owned()];
    if pattern.starts_with('/') {
        let ends = pattern.match_indices('/').map(|(at, _)| pattern[at + 1..].to_owned());
        // Of a name alone a pattern may be too much: that of any file beside the configuration.
        tried.extend(ends.filter(|end| end.contains('/') || !end.contains(['*', '?'])));
    }
    let mut reason = "there is no such file".to_owned();
    for pattern in &tried {
        match files.matching(pattern) {
            Ok(paths) if paths.is_empty() => {}
            Ok(paths) => return paths,
            Err(error) if tried.len() == 1 => reason = error,
            Err(_) => {}
        }
    }
    let beside = match tried.last() {
        Some(last) if tried.len() > 1 => {
            format!(", nor {last} beside the configuration: put it there, for the path is one of where Prometheus runs")
        }
        _ => String::new(),
    };
    harvest.note(Gravity::LeftOut, format!("{place}{pattern}: not carried over: {reason}{beside}"));
    Vec::new()
}

/// Takes the targets of one group, and says how many have labels of their own.
fn read_group(
    group: &Node,
    (job, scrape): (&str, Scrape),
    initial: &Labels,
    steps: &[Step],
    probes: &mut Vec<Probe>,
) -> usize {
    let own: Labels = group
        .entries_of("labels")
        .filter_map(|(name, value)| Some((name.to_owned(), value.text()?.to_owned())))
        .collect();
    let mut labelled = 0;
    for address in group.texts_of("targets") {
        let mut labels = initial.clone();
        labels.extend(own.clone());
        labels.insert("__address__".to_owned(), address.to_owned());
        // Those that are dropped were never scraped.
        if let Some(labels) = relabel(steps, labels) {
            labelled += usize::from(own.keys().any(|name| !name.starts_with("__")));
            let text = |key: &str| labels.get(key).and_then(|text| span(text)).filter(|span| !span.is_zero());
            let scrape = Scrape {
                interval: text("__scrape_interval__").unwrap_or(scrape.interval),
                timeout: text("__scrape_timeout__").unwrap_or(scrape.timeout),
            };
            probes.push(Probe { job: job.to_owned(), labels, scrape });
        }
    }
    labelled
}

/// Makes a target of a probe.
fn add(probe: Probe, name: String, modules: &Modules, harvest: &mut Harvest) {
    let Some(url) = probe.url() else {
        return harvest.leave_out(&format!("job {}", probe.job), "nothing says what the exporter is to probe");
    };
    let module = match modules.get(module_of(&probe.labels)) {
        Ok(module) => module,
        Err(reason) => return harvest.leave_out(&name, reason),
    };
    let mut notes = Vec::new();
    let mut target = module.target(name, url, probe.scrape, &mut notes);
    if let Some(host) = probe.labels.get("__param_hostname") {
        target.headers.insert("Host".to_owned(), host.clone());
    }
    if target.url.starts_with("https://") && target.headers.keys().any(|name| name.eq_ignore_ascii_case("host")) {
        let text = "headers.Host: not carried over to TLS, where the URL's host is asked for";
        notes.push(Note::new(Gravity::MayBeDown, text));
    }
    harvest.add(target, notes);
}

/// A duration as Prometheus writes it in its labels.
fn written(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The files beside a configuration.
pub(super) struct Beside<'a>(pub(super) &'a Path);

impl Files for Beside<'_> {
    fn matching(&self, pattern: &str) -> Result<Vec<String>, String> {
        let (folder, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        if !name.contains('*') && !name.contains('?') {
            return Ok(if self.0.join(pattern).exists() { vec![pattern.to_owned()] } else { Vec::new() });
        }
        let wanted = glob(name)?;
        let folder_path = if pattern.starts_with('/') { Path::new("/").join(folder) } else { self.0.join(folder) };
        let entries = match std::fs::read_dir(folder_path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| error.to_string())?,
        };
        let mut paths: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| fits(name, wanted.as_ref()))
            .map(|name| if pattern.contains('/') { format!("{folder}/{name}") } else { name })
            .collect();
        paths.sort();
        Ok(paths)
    }

    fn read(&self, path: &str) -> Result<Rc<Node>, String> {
        let text = read_text(&self.0.join(path))?;
        if path.ends_with(".json") { Node::from_json(&text) } else { Node::parse(&text) }
    }
}

fn fits(name: &str, wanted: Option<&Wanted>) -> bool {
    match wanted {
        None => true,
        Some(Wanted::Contains(text)) => name.contains(text),
        Some(Wanted::Matches(regex)) => {
            // One of bytes: a star stands for any.
            regex::bytes::Regex::new(regex).is_ok_and(|regex| regex.is_match(name.as_bytes()))
        }
    }
}
