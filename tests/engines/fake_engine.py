"""A container engine that is a script: it keeps a file for each container, and runs what the tests ask for in place of a cell."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

from lines import line

SCRIPT = """\
#!{python}
import json, os, pathlib, signal, subprocess, sys, time

store = pathlib.Path(os.environ["STORE"])
arguments = sys.argv[1:]
with (store / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
if (store / "gone").exists():
    sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")


def container(name):
    return store / f"{{name}}.container"


def option(name):
    return arguments[arguments.index(name) + 1]


def ended(name, code, oom=False):
    container(name).write_text(f"exited {{code}} {{str(oom).lower()}}")
    sys.exit(code)


def candidate(outside, inside):
    (info,) = outside.glob("*.dist-info")
    name, _, version = info.name.removesuffix(".dist-info").partition("-")
    found = [{{"version": version, "folder": inside}}]
    if (store / "released").exists():
        found.append({{"version": "0", "folder": "/opt/cell"}})
    module = {{"module": name, "file": f"{{inside}}/{{name}}/__init__.py", "version": version, "error": None}}
    return {{"folder": inside, "distribution": name.replace("_", "-"), "found": found, "modules": [module], "trouble": None}}


what = arguments[:2]
if what[0] == "info":
    print(json.dumps({{"ServerVersion": "99.0", "Runtimes": {{"runc": {{}}}}}}) if "json" in arguments[-1] else "99.0")
elif what == ["image", "inspect"]:
    image = arguments[-1]
    if image.startswith("python:"):
        print("sha256:base")
    elif (store / image).exists():
        print((store / image).read_text())
    else:
        sys.exit(f"Error: No such image: {{image}}")
elif what[0] == "build":
    if (store / "full").exists():
        print("write /x: no space left on device")
        sys.exit(1)
    requirements = pathlib.Path(arguments[-1], "group/requirements.txt")
    if (store / "broken").exists() and requirements.exists() and "torch==" in requirements.read_text():
        print("no wheel of torch")
        sys.exit(1)
    label = next(a for a in arguments if a.startswith("conformance.image.key="))
    (store / option("--tag")).write_text(label.partition("=")[2])
elif what[0] == "run":
    name = option("--name")
    behaviour = (store / "behaviour").read_text().split()
    cell = [a for a in arguments if a.endswith(":/results:rw")][0].removesuffix(":/results:rw")
    wanted = dict(word.split("=") for word in behaviour)
    how = next((wanted[key] for key in wanted if key in name), wanted.get("else", "ok"))
    results = pathlib.Path(cell)
    container(name).write_text(f"running 0 false {{os.getpid()}}")
    result = json.loads({result!r})
    case = json.dumps({{**result, "tier": "full"}}) + "\\n"
    end = json.dumps({{"event": "end", "result": result}}) + "\\n"

    def complete():
        (results / "plan.jsonl").write_text(case)
        (results / "journal.jsonl").write_text(end)
        (results / "results.jsonl").write_text(json.dumps(result) + "\\n")
        mounts = [a.split(":")[:2] for a in arguments if ":/candidates/" in a and a.endswith(":ro")]
        candidates = [candidate(pathlib.Path(outside), inside) for outside, inside in mounts]
        (results / "environment.json").write_text(json.dumps({{"candidates": candidates, "libraries": []}}))

    def asked(number, frame):
        ended(name, 143)

    signal.signal(signal.SIGTERM, asked)
    if "pytest" in arguments:
        said = {{"fail": "test_a.py::test_fails FAILED", "crash": "test_a.py::test_dies Fatal Python error: Segmentation fault"}}
        way = (store / "tests").read_text()
        print(said.get(way, ""))
        if way == "hang":
            print("test_a.py::test_waits ", flush=True)
            time.sleep(600)
        if way == "crash":
            ended(name, 139)
        if way == "killed":
            ended(name, 137)
        if way == "none":
            ended(name, 5)
        inside = "<testcase/><testcase><skipped/></testcase>"
        inside += "<testcase><failure/></testcase><testcase><error/></testcase>" if way == "fail" else ""
        (results / "with-tests.xml").write_text("<testsuites><testsuite>" + inside + "</testsuite></testsuites>")
        ended(name, 1 if way == "fail" else 0)
    if how == "missing":
        container(name).unlink()
        print("docker: Error response from daemon: No such image: x.", file=sys.stderr)
        sys.exit(125)
    if how == "sleep":
        (results / "plan.jsonl").write_text(case)
        (results / "journal.jsonl").write_text("")
        while True:
            time.sleep(0.05)
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(0.05)
    if how == "gone":
        (store / "gone").touch()
        print("error waiting for container: unexpected EOF", file=sys.stderr)
        sys.exit(125)
    if how == "usage":
        print("conformance: --case: there is no case x; `list` shows what there is", file=sys.stderr)
        ended(name, 2)
    if how == "full":
        print("conformance: results cannot be written to /results (No space left on device)", file=sys.stderr)
        ended(name, 6)
    if how == "killed":
        ended(name, 137)
    if how == "oom":
        ended(name, 137, oom=True)
    if how == "nothing":
        ended(name, 1)
    complete()
    ended(name, {{"ok": 0, "violations": 1, "lost": 4, "void": 5}}[how])
elif what[0] in ("stop", "kill"):
    status = container(arguments[-1]).read_text().split()
    if status[0] == "running":
        os.kill(int(status[3]), signal.SIGTERM if what[0] == "stop" else signal.SIGKILL)
        if what[0] == "kill":
            container(arguments[-1]).write_text("exited 137 false")
elif what == ["container", "inspect"]:
    if not container(arguments[-1]).exists():
        sys.exit(f"Error: No such container: {{arguments[-1]}}")
    print(" ".join(container(arguments[-1]).read_text().split()[:3]))
elif what[0] == "rm":
    if container(arguments[-1]).exists():
        status = container(arguments[-1]).read_text().split()
        if status[0] == "running":
            try:
                os.kill(int(status[3]), signal.SIGKILL)
            except ProcessLookupError:
                pass
        container(arguments[-1]).unlink()
"""


class FakeEngine:
    """The script, its store, and what it was called with."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.store.mkdir()
        self.program = folder / "docker"
        self.program.write_text(
            SCRIPT.format(python=sys.executable, result=json.dumps(line("a.a/reference-reference/dlpack/host")))
        )
        self.program.chmod(self.program.stat().st_mode | stat.S_IEXEC)
        self.behave("else=ok")
        self.tests("pass")

    def tests(self, way: str) -> None:
        """How a package's own tests end."""
        (self.store / "tests").write_text(way)

    @property
    def released(self) -> Path:
        """While this file is there, cells find the released version of a candidate too."""
        return self.store / "released"

    def behave(self, *ways: str) -> None:
        """How cells end, as ``part-of-a-name=how``; ``else=how`` for the others."""
        (self.store / "behaviour").write_text(" ".join(ways))

    @property
    def environment(self) -> dict[str, str]:
        """By which a runner finds it."""
        return {**os.environ, "STORE": str(self.store), "CONFORMANCE_ENGINE": str(self.program)}

    def calls(self, command: str) -> list[list[str]]:
        """The arguments of every call of this command."""
        lines = (self.store / "calls").read_text().splitlines()
        return [call for line in lines if (call := json.loads(line))[0] == command]

    @property
    def containers(self) -> list[str]:
        """What is there now."""
        return sorted(path.name for path in self.store.glob("*.container"))
