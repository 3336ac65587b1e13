"""Holds rendered manifests against Kubernetes' schemas, and what deploy/ says against the code.

Arguments: the root of the repository, a work folder with rendered/*.yaml, the folder of our binaries.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import yaml

ROOT, WORK, BINARIES = (Path(argument).resolve() for argument in sys.argv[1:])
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/slotwatch"
# The oldest that the chart is for (its kubeVersion), and the newest that there are schemas of.
KUBERNETES = ("1.27", "1.37")
# What the Prometheus operator brings; the rules in it are checked by promtool.
WITHOUT_SCHEMA = {"PodMonitor", "PrometheusRule"}

faults = []


def hold(truth, fault):
    """Notes the fault unless it is true that there is none."""
    if not truth:
        faults.append(fault)


def manifests():
    for file in sorted((WORK / "rendered").glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document:
                yield file, document


def check_schemas():
    checked, unchecked = 0, 0
    for file, document in manifests():
        name = f"{file.stem}: {document['kind']} {document['metadata']['name']}"
        if document["kind"] in WITHOUT_SCHEMA:
            unchecked += 1
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                faults.append(f"{name}, Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")
        checked += 1
    print(f"{checked} objects are as Kubernetes {' and '.join(KUBERNETES)} want them; {unchecked} have no schema here")


def check_references():
    """A name that is mounted exists, and is of the same rendering, unless the user is to make it; so is the configuration file."""
    for file in sorted({file for file, _ in manifests()}):
        documents = [document for other, document in manifests() if other == file]
        names = {(document["kind"], document["metadata"]["name"]) for document in documents}
        data = {document["metadata"]["name"]: document["data"] for document in documents if document["kind"] == "ConfigMap"}
        for document in documents:
            template = document.get("spec", {}).get("template", {}).get("spec")
            if not template:
                continue
            where = f"{file.stem}: {document['metadata']['name']}"
            hold(template["enableServiceLinks"] is False, f"{where}: enableServiceLinks")
            account = template.get("serviceAccountName")
            hold(account is None or ("ServiceAccount", account) in names, f"{where}: no account {account}")
            hold(("Service", document["spec"].get("serviceName")) in names or document["kind"] != "StatefulSet",
                 f"{where}: no service")
            for volume in template.get("volumes", []):
                if (secret := volume.get("secret")) and file.stem in ("kustomize-dev", "kustomize-production"):
                    hold(("Secret", secret["secretName"]) in names, f"{where}: no secret {secret['secretName']}")
                if (config := volume.get("configMap")) and config["name"] != "authorities":
                    hold(("ConfigMap", config["name"]) in names, f"{where}: no configuration {config['name']}")
            mounted = {mount["name"] for container in template["containers"] for mount in container["volumeMounts"]}
            there = {volume["name"] for volume in template.get("volumes", [])}
            there |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
            maps = {volume["name"]: volume["configMap"]["name"] for volume in template.get("volumes", []) if "configMap" in volume}
            for container in template["containers"]:
                if container["name"] in ("producer", "consumer"):
                    paths = {f"{mount['mountPath']}/{key}" for mount in container["volumeMounts"] if mount["name"] in maps
                             for key in data.get(maps[mount["name"]], ())}
                    named = [entry["value"] for entry in container["env"] if entry["name"] == "CONFIG_FILE"]
                    hold(len(named) == 1 and named[0] in paths, f"{where}: CONFIG_FILE is {named}, there are {sorted(paths)}")
            hold(mounted == there, f"{where}: volumes {sorted(there)}, mounted {sorted(mounted)}")


def check_configurations():
    """Our own programs read what they would be given, in the files that a pod or a unit would see."""
    producer, consumer = BINARIES / "producer", BINARIES / "consumer"
    if not (producer.exists() and consumer.exists()):
        print(f"there is no {producer}: configuration files were NOT checked; build first")
        return
    # A certificate and its key in one file, since both are read, and have to fit.
    certificate = WORK / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=example", "-keyout", WORK / "key.pem",
                    "-out", certificate], check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + (WORK / "key.pem").read_text())
    found = {str(folder.relative_to(ROOT)): {file.name: file.read_text() for file in folder.glob("*.toml")}
             for folder in (DEPLOY / "compose", DEPLOY / "systemd", DEPLOY / "k8s/base/config",
                            DEPLOY / "k8s/overlays/production/config")}
    for file, document in manifests():
        if document["kind"] == "ConfigMap":
            found.setdefault(file.stem, {}).update(document["data"])
    example = {"targets.toml": (ROOT / "config/targets.toml").read_text()}
    count = 0
    for index, (name, files) in enumerate(found.items()):
        folder = WORK / f"configuration-{index}"
        folder.mkdir()
        for file, text in (example | files).items():
            text = re.sub(r"/(etc/slotwatch(-targets)?|run/slotwatch/targets)/", f"{folder}/", text)
            (folder / file).write_text(re.sub(r"/run/slotwatch/[a-z-]+/[a-z.]+", str(certificate), text))
        (folder / "url").write_text("postgres://slotwatch:password@postgres/slotwatch\n")
        for file in files:
            if (binary := Path(file).stem) not in ("producer", "consumer"):
                continue
            environment = {"KAFKA_PASSWORD": "example"}
            if binary == "consumer" and "host" not in files[file]:
                environment["POSTGRES_URL_FILE"] = str(folder / "url")
            done = subprocess.run([BINARIES / binary, "--check-config", "--config", folder / file], env=environment,
                                  capture_output=True, text=True)
            hold(done.returncode == 0, f"{name}: {file}: {done.stderr.strip()}")
            count += 1
    print(f"{count} configuration files are taken by our own programs")


def check_ports():
    """A network policy lets out to each port that the configuration names."""
    for file in sorted({file for file, _ in manifests()}):
        documents = [document for other, document in manifests() if other == file]
        texts = {name: text for document in documents if document["kind"] == "ConfigMap" for name, text in document["data"].items()}
        read = {Path(name).stem: tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text) for name, text in texts.items()}
        for policy in (document for document in documents if document["kind"] == "NetworkPolicy"):
            component = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            config = read[component]
            urls = [(f"kafka://{broker.strip().split('//')[-1]}", 9092) for broker in config["kafka"]["brokers"].split(",")]
            if host := config.get("postgres", {}).get("host"):
                urls.append((f"postgres://{host}:{config['postgres'].get('port', 5432)}", None))
            if component == "producer":
                urls += [(target["url"], {"http": 80, "https": 443}[target["url"].split(":")[0]])
                         for target in read.get("targets", {}).get("targets", [])]
            wanted = {urlsplit(url).port or default for url, default in urls}
            let_out = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"] if port["protocol"] == "TCP"}
            hold(wanted <= let_out, f"{file.stem}: NetworkPolicy of the {component}: not let out to {sorted(wanted - let_out)}")


def check_values():
    """The chart's schema knows each key of the shipped files, but for those that the chart sets itself."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    of = schema["properties"]
    producer, consumer = (tomllib.loads((ROOT / f"config/{name}.toml").read_text()) for name in ("producer", "consumer"))
    secrets = {"password", "key_password", "ca_file", "certificate_file", "key_file"}
    producers = of["producer"]["properties"]["config"]["properties"]
    consumers = of["consumer"]["properties"]["config"]["properties"]
    sections = [
        ("kafka", producer["kafka"], schema["$defs"]["kafkaSection"], secrets),
        ("postgres", consumer["postgres"], of["postgres"]["properties"]["config"], {"url", "password"}),
        ("schedule", producer["schedule"], producers["schedule"], {"targets_file"}),
        ("replicas", producer["replicas"], producers["replicas"], {"enabled"}),
        ("spool", producer["spool"], producers["spool"], {"file"}),
        *((name, producer[name], producers[name], set()) for name in ("dns", "probe", "publish", "metrics", "log")),
        *((name, consumer[name], consumers[name], set()) for name in ("consume", "log")),
    ]
    for name, shipped, known, own in sections:
        difference = set(shipped) ^ set(known["properties"]) ^ own
        hold(not difference, f"values.schema.json, section {name}: {sorted(difference)}")
    missing = (set(producer) | set(consumer)) - {name for name, *_ in sections} - {"admin", "stop", "site"}
    hold(not missing, f"values.schema.json: no sections {sorted(missing)}")
    open_ones = [part for part in objects(schema) if "properties" in part and part.get("additionalProperties") is not False]
    hold(not open_ones, f"values.schema.json: not closed: {[sorted(part['properties'])[:3] for part in open_ones]}")


def objects(part):
    """All JSON objects in this one, itself included."""
    if isinstance(part, dict):
        yield part
    if isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from objects(inner)


def check_metrics():
    """Alerts and dashboard speak only of what the code counts; the dashboard's questions become rules, which promtool can read."""
    code = "".join((ROOT / file).read_text() for file in
                   ("producer/src/metrics.rs", "producer/src/reload.rs", "producer/src/shards.rs", "consumer/src/metrics.rs",
                    "shared/src/admin.rs", "shared/src/admin/metrics.rs"))
    known = set(re.findall(r'"([a-z_]+)"', code))
    dashboard = json.loads((DEPLOY / "grafana/slotwatch.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    questions = [target["expr"] for panel in panels for target in panel["targets"]]
    for name in sorted(set(re.findall(r"\bslotwatch_([a-z_]+)", (DEPLOY / "alerts.yaml").read_text() + " ".join(questions)))):
        base = re.sub("_(total|bucket|sum|count)$", "", name)
        hold(base in known or name in known, f"no metric slotwatch_{name}")
    hold(len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]), "dashboard: an id is used twice")
    rules = [{"record": f"dashboard:{index}", "expr": question.replace("$__rate_interval", "5m").replace("$__range", "3h")}
             for index, question in enumerate(questions)]
    (WORK / "dashboard-rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    print(f"{len(questions)} questions of {len(panels)} panels ask for metrics that there are")


def check_runbooks():
    """Each alert leads to a heading, once there is a page."""
    page = ROOT / "docs/operations.md"
    rules = [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
    text = page.read_text() if page.exists() else None
    for rule in rules:
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        hold(file == "docs/operations.md" and anchor, f"{rule['alert']}: no runbook")
        for word in ("summary", "description"):
            hold(rule["annotations"].get(word), f"{rule['alert']}: no {word}")
        hold(rule["labels"]["severity"] in ("warning", "critical"), f"{rule['alert']}: severity")
        if text is not None:
            headings = {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
                        for heading in re.findall(r"^#+ (.*)$", text, re.M)} | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
            hold(anchor in headings, f"{rule['alert']}: docs/operations.md has no heading for #{anchor}")
    if text is None:
        print("there is no docs/operations.md: runbooks were NOT checked")


def check_versions():
    """What is said in two places is the same."""
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    hold(f"ARG RUST_VERSION={toolchain}\n" in dockerfile, f"Dockerfile: not Rust {toolchain}")
    kafka = re.search("<kafka.version>(.*)</kafka.version>", (ROOT / "local/kafka/pom.xml").read_text())[1]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    compose, dev = (DEPLOY / "compose.yaml").read_text(), (DEPLOY / "k8s/overlays/dev/kafka.yaml").read_text()
    hold(f"apache/kafka:{kafka}\n" in compose and f"apache/kafka:{kafka}\n" in dev, f"not Kafka {kafka} everywhere")
    postgres = set(re.findall(r"postgres:[0-9][^\s]*", compose + (DEPLOY / "k8s/overlays/dev/postgres.yaml").read_text()))
    hold(len(postgres) == 1, f"different versions of Postgres: {sorted(postgres)}")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    hold(chart["appVersion"] == version, f"Chart.yaml: appVersion is not {version}")
    hold(compose.count(f":{version}\n") == 2, f"compose.yaml: images are not {version}")


def check_grace():
    """Nobody kills us before our own grace has run out."""
    seconds = int(tomllib.loads((ROOT / "config/producer.toml").read_text())["stop"]["grace"].removesuffix("s"))
    units = [int(time) for unit in DEPLOY.glob("systemd/*.service") for time in re.findall("^TimeoutStopSec=(.*)$", unit.read_text(), re.M)]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    services = [int(compose[name]["stop_grace_period"].removesuffix("s")) for name in ("producer", "consumer")]
    for file, document in manifests():
        if file.stem.startswith("kustomize") and "slotwatch" in document["metadata"]["name"] and "template" in document.get("spec", {}):
            services.append(document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])
    hold(len(units) == 2 and all(time > seconds for time in units + services), f"not above {seconds} s: {units + services}")


for check in (check_schemas, check_references, check_configurations, check_ports, check_values, check_metrics, check_runbooks,
              check_versions, check_grace):
    check()
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(bool(faults))
