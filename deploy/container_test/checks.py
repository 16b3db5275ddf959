"""What is checked. Each check is a function of the running project that returns what it found, or raises.

They run in this order: the later ones kill and stop the service.
"""

import json
import subprocess
import time
from pathlib import Path

from deploy.container_test import client, images
from deploy.container_test.client import Ask
from deploy.container_test.project import NAME, Project, without_password
from deploy.container_test.shell import ROOT, run, succeeds, until
from deploy.dashboards import queries

MAX_BYTES = 1_200_000_000
DRAIN_CLIENTS = 16
_SAME = Ask("POST", "/v1/images/generations", {"n": 2, "seed": 7}, headers=(("accept", "image/png"),))
_FORBIDDEN = ("gcc", "cc", "g++", "make", "ld")


class Wrong(AssertionError):
    """Something that is not as it should be."""


def size(project: Project) -> str:
    """The image is small enough."""
    found = int(run("docker", "image", "inspect", images.SERVICE, "--format", "{{.Size}}"))
    _expect(found <= MAX_BYTES, f"{found / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}")
    return f"{found / 1e6:.0f} MB"


def contents(project: Project) -> str:
    """There is no compiler and no torch in it."""
    code = f"import importlib.util as u, shutil; print([n for n in {_FORBIDDEN!r} if shutil.which(n)], u.find_spec('torch'))"
    found = run("docker", "run", "--rm", "--entrypoint", "python", images.SERVICE, "-c", code).strip()
    _expect(found == "[] None", f"found {found}")
    return f"none of {', '.join(_FORBIDDEN)}, torch"


def secrets(project: Project) -> str:
    """Compose refuses to start without the secret, and names it."""
    said = without_password()
    _expect("GRAFANA_ADMIN_PASSWORD" in said, f"it said {said or 'nothing'}")
    return "GRAFANA_ADMIN_PASSWORD is asked for"


def starts(project: Project) -> str:
    """The service becomes ready, and healthy by its own health check."""
    start = time.monotonic()
    project.compose("up", "-d", "amostra", "prometheus")
    project.until_ready()
    ready = time.monotonic() - start
    until(lambda: project.inspect()["State"]["Health"]["Status"] == "healthy", 60, "the health check")
    return f"ready after {ready:.1f} s"


def confined(project: Project) -> str:
    """It runs as nobody in particular, in one process, without capabilities, and can write nowhere but to /tmp."""
    status = dict(
        line.split(":\t", 1) for line in project.inside("cat", "/proc/1/status").splitlines() if ":\t" in line
    )
    user = project.inside("id", "-u").strip()
    _expect(user == "10001" and status["Uid"].split() == ["10001"] * 4, f"user {user}, {status['Uid']}")
    _expect(int(status["CapEff"], 16) == 0, f"capabilities {status['CapEff']}")
    _expect(status["NoNewPrivs"].strip() == "1", "it may gain privileges")
    code = "import glob, os; print([p for p in glob.glob('/proc/[0-9]*') if int(p[6:]) not in (1, os.getpid())])"
    _expect(project.inside("python", "-c", code).strip() == "[]", "there is a second process")
    for path in ("/app/x", "/models/x", "/opt/venv/x", "/x"):
        said = project.inside("python", "-c", f"try: open({path!r}, 'w')\nexcept OSError as e: print(e.errno)").strip()
        _expect(said in ("13", "30"), f"{path} can be written: {said!r}")
    return "uid 10001, one process, no capabilities, read-only"


def endpoints(project: Project) -> str:
    """Every route of the API's document answers."""
    document = json.loads(client.send(project.url, Ask("GET", "/openapi.json"))[1])
    wanted = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    missing = wanted - {(ask.method, ask.route) for ask in client.EVERY_ROUTE} - client.a_batch(project.url)
    _expect(not missing, f"this test asks nothing of {sorted(missing)}")
    for ask in (*client.EVERY_ROUTE, *client.REFUSED):
        status, answer = client.send(project.url, ask)
        _expect(status == ask.expected, f"{ask.method} {ask.route}: {status}, not {ask.expected}: {answer[:300]!r}")
    return f"{len(wanted)} routes"


def scraped(project: Project) -> str:
    """Prometheus reaches the service, and has loaded the alert rules."""
    until(lambda: [s["value"][1] for s in project.query('up{job="amostra"}')] == ["1"], 30, "up == 1")
    rules = project.rules()
    _expect(rules and all(rule["health"] != "err" for rule in rules), f"rules {rules}")
    return f"up == 1, {len(rules)} alert rules"


def promtool(project: Project) -> str:
    """promtool accepts the configuration, the rules, their tests and the queries of the dashboards."""
    prometheus = json.loads(run("docker", "inspect", project.compose("ps", "-q", "prometheus").strip()))[0]
    rules = [{"record": f"panel:{n}", "expr": query.filled()} for n, query in enumerate(queries())]
    panels = json.dumps({"groups": [{"name": "dashboards", "rules": rules}]})
    tool = ("docker", "run", "--rm", "-i", "-v", f"{ROOT}/deploy/prometheus:/p:ro", "-w", "/p", "--entrypoint")
    image = prometheus["Config"]["Image"]
    run(*tool, "/bin/promtool", image, "check", "config", "prometheus.yml")
    run(*tool, "/bin/promtool", image, "check", "rules", "alerts.yml")
    run(*tool, "/bin/promtool", image, "test", "rules", "alerts.test.yml")
    shell = "cat >/tmp/panels.yml && /bin/promtool check rules /tmp/panels.yml"
    run(*tool, "/bin/sh", image, "-c", shell, stdin=panels)
    return f"configuration, rules, rule tests, {len(rules)} queries"


def dashboards(project: Project) -> str:
    """Every query of every dashboard finds something once there was traffic; those of the GPU where there is one."""
    wanted = [query for query in queries() if "amostra_gpu_" not in query.expr]
    empty = wanted
    for _ in range(6):
        for ask in (*client.EVERY_ROUTE[4:14], *client.REFUSED):
            client.send(project.url, ask)
        client.leave(project.port)
        time.sleep(4)
        empty = [query for query in wanted if not any(_number(s) for s in project.query(query.filled()))]
        if not empty:
            return f"{len(wanted)} queries"
    raise Wrong("nothing found by " + "; ".join(f"{q.dashboard}/{q.panel}: {q.filled()}" for q in empty))


def killed(project: Project) -> str:
    """After SIGKILL it is started again and gives the same answer to the same request."""
    before = client.send(project.url, _SAME)
    found = project.inspect()
    # From outside of the container: within it nobody can kill its first process, and `docker kill` forbids a restart.
    code = f"import os; os.kill({found['State']['Pid']}, 9)"
    host = ("docker", "run", "--rm", "--pid", "host", "--user", "0", "--entrypoint", "python")
    run(*host, images.SERVICE, "-c", code)
    start = time.monotonic()
    until(lambda: project.inspect()["RestartCount"] == found["RestartCount"] + 1, 30, "a restart")
    project.until_ready()
    _expect(client.send(project.url, _SAME) == before, "it answers something else than before")
    return f"ready again after {time.monotonic() - start:.1f} s, the same answer"


def out_of_memory(project: Project) -> str:
    """Over its memory limit it is killed, and started again."""
    name = f"{NAME}-oom"
    limits = ("--memory", "1g", "--memory-swap", "1g", "--tmpfs", "/tmp:size=2g,mode=1777", "--read-only")
    since = str(int(time.time()))
    run("docker", "run", "-d", "--name", name, "--restart", "on-failure:3", *limits, images.SERVICE)
    try:
        until(lambda: _ready_inside(name), 120, "the limited container")
        # What lies in a tmpfs is memory of the container and of none of its processes: the largest of them goes.
        fill = "f = open('/tmp/fill', 'wb')\nfor _ in range(120): f.write(bytes(2**24))"
        run("docker", "exec", name, "python", "-c", fill, check=False)
        until(lambda: run("docker", "inspect", name, "--format", "{{.RestartCount}}").strip() == "1", 30, "a restart")
        until(lambda: _ready_inside(name), 120, "ready again")
        events = run(
            *("docker", "events", "--since", since, "--until", str(int(time.time()) + 1)),
            *("--filter", "event=oom", "--filter", f"container={name}", "--format", "{{.Action}}"),
        )
        _expect("oom" in events, "the engine saw no lack of memory")
    finally:
        succeeds("docker", "rm", "--force", "--volumes", name)
    return "killed at 1 GiB, ready again"


def drains(project: Project) -> str:
    """Stopped under load, it answers whatever it took in, refuses what comes then, and ends in time and well."""
    load = Path(__file__).with_name("load.py").read_text()
    command = ("docker", "run", "--rm", "--network", f"{NAME}_default", "--entrypoint", "python", images.SERVICE, "-c")
    arguments = (load, "http://amostra:3000", str(DRAIN_CLIENTS))
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdout is not None
        _expect(clients.stdout.readline().strip() == "begun", "the load did not begin")
        time.sleep(4)
        start = time.monotonic()
        project.compose("stop", "amostra")
        seconds = time.monotonic() - start
        seen = json.loads(clients.stdout.read())
    state = project.inspect()["State"]
    _expect(state["ExitCode"] == 0, f"it ended with {state['ExitCode']}")
    _expect(seconds < 45, f"it took {seconds:.0f} s")
    _expect("lost" not in seen, f"requests were lost: {seen}")
    _expect(set(seen) <= {"200", "503", "refused"}, f"found {seen}")
    _expect(seen["refused"] == DRAIN_CLIENTS and seen["200"] > DRAIN_CLIENTS, f"there was no load: {seen}")
    return f"{seen['200']} answered, {seen.get('503', 0)} told to go elsewhere, 0 lost, ended in {seconds:.1f} s"


def grafana(project: Project) -> str:
    """Grafana has the datasource and the dashboards."""
    project.compose("up", "-d", "grafana")
    until(lambda: client.status(f"http://127.0.0.1:{project.grafana_port}/api/health") == 200, 90, "Grafana")
    sources = {query.datasource for query in queries()}
    for uid in sources:
        project.grafana(f"/api/datasources/uid/{uid}")
    found = {board["title"] for board in project.grafana("/api/search?type=dash-db")}
    _expect({query.dashboard for query in queries()} <= found, f"it knows {sorted(found)}")
    return f"{len(found)} dashboards"


def _expect(true: object, otherwise: str) -> None:
    if not true:
        raise Wrong(otherwise)


def _number(sample: dict) -> bool:
    """Whether a sample is a number; a rate of nothing over nothing is none."""
    return sample["value"][1] != "NaN"


def _ready_inside(name: str) -> bool:
    code = "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz')"
    return succeeds("docker", "exec", name, "python", "-c", code)
