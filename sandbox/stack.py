"""The embedded stack: started, watched and stopped as one.

stack = Stack(Path(".sandbox"))
stack.up()      # every part runs and is healthy, and .sandbox/env says where
stack.env()
stack.down()    # nothing of it is alive

What a stack has started ends with the process that started it, however that ends (with the guard's
owner where that process has one itself). A stack made with `outlives=True` ends with a process that
dies in the middle of `up`, and runs on after it.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from dotenv import dotenv_values

from sandbox import processes, state_file
from sandbox.egress_proxy import ensure_certificate
from sandbox.guard import Guard
from sandbox.identity import ensure_service_account
from sandbox.parts import (
    PARTS,
    POOL,
    REPLACED_BY,
    Layout,
    Part,
    choose_ports,
    variables_for,
)
from sandbox.probe import prefect_api
from sandbox.secret_file import write_private
from sandbox.state_file import Record, SandboxError, State

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_STATE = ROOT / ".sandbox"
NAMES = tuple(part.name for part in PARTS)
POLL_SECONDS = 0.1
COMMAND_SECONDS = 600.0
LOG_TAIL_LINES = 25
# By state directory, for as long as this process may start something there.
_guards: dict[Path, Guard] = {}


@dataclass(frozen=True)
class PartStatus:
    """`condition`: running, dead (started, but gone), stopped, external (the caller has it)."""

    name: str
    condition: str
    pid: int | None
    address: str


def read_env(state: Path) -> dict[str, str]:
    """The variables that the last `up` wrote. Raises FileNotFoundError before the first one."""
    path = state / "env"
    if not path.exists():
        raise FileNotFoundError(f"{path}: start the sandbox first (python -m sandbox up)")
    values = dotenv_values(path, interpolate=False)
    return {name: value or "" for name, value in values.items()}


class Stack:
    """The stack whose state is in `state`. `say` gets a line per step."""

    def __init__(
        self,
        state: Path = DEFAULT_STATE,
        environ: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
        *,
        outlives: bool = False,
    ) -> None:
        self.directory = state.resolve()
        self._environ = dict(os.environ if environ is None else environ)
        self._say = say
        self._outlives = outlives

    def env(self) -> dict[str, str]:
        """See read_env."""
        return read_env(self.directory)

    def up(self, parts: Collection[str] = NAMES) -> None:
        """The parts named run and are healthy, and `env` is true.

        A healthy part is left alone, a dead one started again on its old port if that is free. A
        part that the caller's environment replaces is not started. If any fails, those started by
        this call are stopped again and SandboxError says what happened; so they are when this is
        interrupted.
        """
        if unknown := set(parts) - set(NAMES):
            raise SandboxError(f"no such part: {', '.join(sorted(unknown))}; there are {NAMES}")
        with state_file.locked(self.directory):
            state = state_file.load(self.directory)
            at = self._layout(state)
            wanted = [
                part for part in PARTS if part.name in parts and part.name not in state.external
            ]
            begun: list[Part] = []  # noted before the start: an interrupt may fall into it
            try:
                children = {}
                for part in wanted:
                    if part.name != "worker" and not self._is_well(part, state, at):
                        begun.append(part)
                        children[part.name] = self._start(part, state, at)
                self._wait(state, at, children)
                if {"prefect", "worker"} & set(parts):
                    self._ensure_pool(at)
                for part in wanted:
                    if part.name == "worker" and not self._is_well(part, state, at):
                        begun.append(part)
                        self._clear(part, state)
                        self._reap(state, at)
                        self._wait(state, at, {part.name: self._start(part, state, at)})
            except BaseException:
                for part in reversed(begun):
                    self._clear(part, state)
                raise
        if self._outlives:
            self._let_go()

    def down(self) -> list[str]:
        """Nothing of the stack is alive, the worker's flow runs being told first. What was stopped.

        Raises processes.SurvivorsError.
        """
        if not self.directory.exists():
            return []
        stopped = []
        with state_file.locked(self.directory):
            state = state_file.load(self.directory)
            for part in reversed(PARTS):
                count = self._clear(part, state)
                if count:
                    stopped.append(part.name)
                    self._say(f"{part.name:<9} stopped ({count} process{'es' * (count > 1)})")
        self._let_go()
        return stopped

    def status(self) -> list[PartStatus]:
        """One line per part, in start order."""
        state = state_file.load(self.directory)
        values = dotenv_values(self.directory / "env", interpolate=False)
        at = Layout(ROOT, self.directory, state.ports, {n: v or "" for n, v in values.items()})
        lines = []
        for part in PARTS:
            record = state.parts.get(part.name)
            process = self._find(part, state)
            if record is None:
                condition = "external" if part.name in state.external else "stopped"
            else:
                condition = "running" if process else "dead"
            address = "" if condition == "stopped" else part.address(at)
            lines.append(
                PartStatus(part.name, condition, process.pid if process else None, address)
            )
        return lines

    # What follows works on a state under the lock.

    def _layout(self, state: State) -> Layout:
        """Ports and variables for this `up`, written to `env` with the service account's file."""
        alive = {part.name for part in PARTS if self._find(part, state)}
        ports = choose_ports(state.ports, alive)
        bare = Layout(ROOT, self.directory, ports)
        own, variables = variables_for(bare, self._environ, state.own)
        state.ports, state.own = ports, own
        state.external = [
            name for name, variable in REPLACED_BY.items() if variables[variable] != own[variable]
        ]
        state_file.save(self.directory, state)
        token_uri = f"{bare.url('token')}/token"
        ensure_certificate(bare.certificate, bare.trusted)
        ensure_service_account(bare.service_account, variables["GCP_PROJECT"], token_uri)
        lines = [_env_line(name, value) for name, value in sorted(variables.items())]
        write_private(self.directory / "env", "".join(lines))
        return Layout(ROOT, self.directory, ports, variables)

    def _is_well(self, part: Part, state: State, at: Layout) -> bool:
        if not self._find(part, state):
            return False
        if state.parts[part.name].fingerprint != _fingerprint(part, at):
            return False
        deadline = time.monotonic() + part.answers_within_seconds
        while not part.is_ready(at, 0):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _start(self, part: Part, state: State, at: Layout) -> subprocess.Popen[bytes]:
        self._clear(part, state)
        environment = self._environment(at, part)
        if processes.OWNER not in environment:
            if self.directory not in _guards:
                _guards[self.directory] = Guard()
            environment |= _guards[self.directory].variables
        log = self.directory / "logs" / f"{part.name}.log"
        child = processes.start(part.command(at), environment, ROOT, log, self._mark(part))
        state.parts[part.name] = Record(
            pid=child.pid,
            created_at=psutil.Process(child.pid).create_time(),
            port=at.ports.get(part.name),
            log=str(log),
            fingerprint=_fingerprint(part, at),
        )
        state_file.save(self.directory, state)
        return child

    def _wait(
        self, state: State, at: Layout, children: Mapping[str, subprocess.Popen[bytes]]
    ) -> None:
        """Each is ready. Raises SandboxError as soon as one is dead or too late."""
        waiting = [part for part in PARTS if part.name in children]
        while waiting:
            for part in list(waiting):
                record, child = state.parts[part.name], children[part.name]
                seconds = time.time() - record.created_at
                ready = part.is_ready(at, record.created_at)
                if child.poll() is not None:
                    raise SandboxError(
                        f"{part.name} died with exit code {child.returncode}{_tail(record)}"
                    )
                if ready:
                    self._say(f"{part.name:<9} ready after {seconds:4.1f} s  {part.address(at)}")
                    waiting.remove(part)
                elif seconds > part.ready_within_seconds:
                    raise SandboxError(
                        f"{part.name} runs but was not ready within"
                        f" {part.ready_within_seconds:.0f} s{_tail(record)}"
                    )
            time.sleep(POLL_SECONDS)

    def _let_go(self) -> None:
        if guard := _guards.pop(self.directory, None):
            guard.let_go()

    def _clear(self, part: Part, state: State) -> int:
        """Nothing of the part is alive; how many processes were stopped."""
        count = processes.stop(
            self._find(part, state), self._mark(part), children_first=part.name == "worker"
        )
        if state.parts.pop(part.name, None):
            state_file.save(self.directory, state)
        return count

    def _ensure_pool(self, at: Layout) -> None:
        try:
            prefect_api(at.variables, "GET", f"/work_pools/{POOL}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise SandboxError(f"prefect: GET work pool {POOL}: {error}") from error
            self._run(at, "deploy.pool", POOL)
        except OSError as error:
            raise SandboxError(f"prefect: {at.variables['PREFECT_API_URL']}: {error}") from error

    def _reap(self, state: State, at: Layout) -> None:
        """No run of a worker that is gone is left. Our own server has no other worker than ours."""
        force = [] if "prefect" in state.external else ["--force"]
        self._say(self._run(at, "deploy.reap", POOL, *force).strip())

    def _run(self, at: Layout, *module: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env=self._environment(at),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            command = " ".join(module)
            raise SandboxError(f"{command}: exit code {done.returncode}\n{done.stdout.strip()}")
        return done.stdout

    def _environment(self, at: Layout, part: Part | None = None) -> dict[str, str]:
        environment = {**self._environ, **at.variables, "PYTHONUNBUFFERED": "1"}
        # Without bytecode every import of Prefect takes two to three times as long.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment.pop(processes.MARK, None)
        return environment | (part.environment(at) if part else {})

    def _mark(self, part: Part) -> str:
        return f"{part.name}@{self.directory}"

    def _find(self, part: Part, state: State) -> psutil.Process | None:
        record = state.parts.get(part.name)
        if record is None:
            return None
        return processes.find(record.pid, record.created_at, self._mark(part))


def _env_line(name: str, value: str) -> str:
    """A line that a shell, make and dotenv readers agree on. Raises SandboxError."""
    if set(value) & set("'\\\n"):
        raise SandboxError(f"{name}: a quote, backslash or line break cannot stand in env")
    return f"{name}={shlex.quote(value)}\n"


def _fingerprint(part: Part, at: Layout) -> str:
    """What a running part was started with. A worker hands every variable on to its flow runs."""
    started = [part.command(at), dict(at.variables) if part.name == "worker" else {}]
    return hashlib.sha256(json.dumps(started, sort_keys=True).encode()).hexdigest()


def _tail(record: Record) -> str:
    lines = Path(record.log).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    shown = "\n".join(f"  | {line}" for line in lines) or "  | (empty)"
    return f"\n{record.log} ends with:\n{shown}"
