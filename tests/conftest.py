"""One embedded stack for all tests that need one, and a platform of its own for each of them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

from runs.environment import ENV_FILE
from runs.settings import ALL_VARIABLES
from sandbox.guard import Guard
from sandbox.parts import isolated
from sandbox.processes import OWNER
from sandbox.stack import Stack
from stores.settings import LandingName
from testing.platform import KITS, TestPlatform
from testing.proxy import VARIABLES, Proxies, proxies
from tools.slow import SECONDS

GUARD = pytest.StashKey[Guard]()
STORES = ("token", "bigquery", "gcs", "s3", "sources")


# The longest, and what the others are done beside, in this order.
FIRST = (
    *("deploy/test_alerts", "flows/test_end_to_end", "dbt_project/test_bigquery"),
    *("dbt_project/test_incremental", "deploy/test_reap", "tasks/test_load", "tasks/test_undo"),
    *("dbt_project/", "reliability/test_kill"),
)


# What is no unit test: these marks; what uses a fixture that starts a process or parses dbt's
# project, if only through another fixture; and what starts a process itself, by how its id begins.
NO_UNIT = {"slow", "matrix", "cloud"}
STARTERS = {"stack_env", "emulator", "stack", "page", "known"}
STARTING = (
    *("dashboards/test_publish.py", "deploy/", "sandbox/"),
    *("serving/test_snapshot.py::test_no_kill", "tasks/test_alerts.py::test_on_a_full_disk"),
    *("tasks/test_by_hand.py", "core/test_rooms.py::test_a_run_imports"),
)


class ByModule(LoadScopeScheduling):
    """A module stays on one worker, and so do all of Debian 12, which have one machine. Of those of
    reliability, whose platforms are their own, the cases of one source do: what an undisturbed run
    of it passes is found out once."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        if module.startswith("tests/deploy/debian_12/"):
            return "tests/deploy/debian_12"
        if not module.startswith("tests/reliability/"):
            return module
        return f"{module}[{test.partition('[')[2].partition('-')[0]}"


def pytest_configure(config: pytest.Config) -> None:
    """Nothing that the tests start outlives them, however they end: not the stacks, not what runs
    in them, not the workers of pytest-xdist, which have their variables from here."""
    config.addinivalue_line("markers", "unit: starts no process; set below (make unit)")
    if OWNER not in os.environ:
        config.stash[GUARD] = Guard()
        os.environ.update(config.stash[GUARD].variables)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    """In place of `--dist loadgroup`, whose groups pytest-xdist 3.8 loses under pytest 9.2."""
    return ByModule(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first, so that the others are done beside them; `unit` is marked."""
    items.sort(key=lambda item: [not item.nodeid.startswith(f"tests/{name}") for name in FIRST])
    for item in items:
        if is_unit(item):
            item.add_marker("unit")


def is_unit(item: pytest.Item) -> bool:
    return not (
        NO_UNIT & {mark.name for mark in item.iter_markers()}
        or STARTERS & set(getattr(item, "fixturenames", ()))
        or item.nodeid.removeprefix("tests/").startswith(STARTING)
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A unit test that starts a process fails, whichever fixture or module of ours does it."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("unit"):
            patch.setattr(subprocess.Popen, "__init__", refuse_to_start)
            patch.setattr(BaseProcess, "start", refuse_to_start)
        return (yield)


def refuse_to_start(self: object, command: object = None, *_: object, **__: object) -> None:
    raise AssertionError(f"a unit test starts a process: {command or self}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """`make list-slow` tells how long each test last took here."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is None:
        return
    seconds: defaultdict[str, float] = defaultdict(float)
    for report in (one for some in terminalreporter.stats.values() for one in some):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid] += round(report.duration, 1)
    cache.set(
        SECONDS, cache.get(SECONDS, {}) | {id_: took for id_, took in seconds.items() if took}
    )


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment, where a stack of an earlier test may stand, nor `.env` says
    anything."""
    for name in ALL_VARIABLES:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(ENV_FILE, "")


@pytest.fixture(scope="session")
def stack_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a running stack without Prefect; also set in this process."""
    stack = Stack(tmp_path_factory.mktemp("stack"), isolated(os.environ))
    stack.up(STORES)
    env = stack.env()
    before = dict(os.environ)
    os.environ.update(env)
    # Children are forked from a server that has imported everything once.
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        [f"testing.kits.{kit}" for kit in KITS]
    )
    yield env
    os.environ.clear()
    os.environ.update(before)
    stack.down()


@pytest.fixture
def make_platform(
    stack_env: dict[str, str], request: pytest.FixtureRequest
) -> Callable[..., TestPlatform]:
    """Make a platform with a small world. `suffix` tells several platforms of one test apart."""
    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    base = f"{readable}-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]}"

    def make(
        suffix: str = "",
        kit: str = "usgs_earthquake",
        size: int = 120,
        retention_days: float = 0,
        landing: LandingName | None = None,
        **settings: Any,
    ) -> TestPlatform:
        name = f"{base}-{suffix}" if suffix else base
        platform = TestPlatform(name, stack_env, kit, retention_days, landing=landing)
        platform.source.start(platform, size, **settings)
        return platform

    return make


@pytest.fixture(scope="session")
def _proxies(stack_env: dict[str, str]) -> Iterator[Proxies]:
    with proxies(stack_env) as through:
        yield through


@pytest.fixture
def through(_proxies: Proxies, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxies]:
    """Proxies in front of the stores, which platforms of `make_platform` go through."""
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, _proxies.env[variable])
    _proxies.reset()
    yield _proxies
    _proxies.reset()


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    return make_platform()


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real payloads beside the checkout; what needs them is skipped where they are absent."""
    path = Path(__file__).resolve().parents[2] / "shared" / "samples"
    if not path.is_dir():
        pytest.skip("../shared/samples is absent: no real payloads to read")
    return path
