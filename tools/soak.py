"""`make soak`: random sequences of changes, runs, kills and faults, until one leaves a wrong table.

Each seed makes one sequence over all sources. Afterwards one undisturbed run of each source must
leave its table equal to the truth, its ledger with each batch once, and no committed batch in a
bucket. A sequence that fails is made as short as it can be while it still fails, and printed with
its seed. The same seed gives the same steps again; how the threads of a run and two clocks meet
is not in its hands.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sandbox.parts import isolated
from sandbox.stack import Stack
from stores.settings import LANDING_GCS, LANDING_S3
from testing.platform import KITS, TestPlatform, lands_in
from testing.proxy import CALLS, VARIABLES, Fault, Kind, Proxies, Store, proxies

STORES = ("token", "bigquery", "gcs", "s3", "sources")
SIZE = 30
STEPS = 12
# A run passes some 40 to 120 events; a kill at a later one is none.
MOST_EVENTS = 110
SOURCE_FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "times": 2},
    {"kind": "drop"},
    {"kind": "truncate"},
    {"kind": "malformed"},
    {"kind": "html"},
    {"kind": "empty"},
    {"kind": "status", "status": 401, "times": -1},
]
STORE_FAULTS: dict[Store, list[tuple[Kind, int]]] = {
    "bigquery": [("status", 503), ("status", 403), ("drop", 0), ("lost", 0)],
    "gcs": [("status", 503), ("drop", 0), ("lost", 0)],
    "s3": [("status", 503), ("drop", 0), ("lost", 0)],
}

Action = Literal["advance", "run", "kill", "source fault", "store fault", "switch"]


@dataclass(frozen=True)
class Step:
    """One thing that happens to a source; `event` of a kill, `fault` of a fault."""

    kit: str
    action: Action
    event: int = 0
    store: Store | None = None
    fault: str = ""

    def __str__(self) -> str:
        told = {name: value for name, value in asdict(self).items() if value}
        return (
            f"{told.pop('kit')}: {told.pop('action')} {json.dumps(told) if told else ''}".rstrip()
        )


def sequence(seed: int, kits: Sequence[str] = KITS, length: int = STEPS) -> list[Step]:
    """The steps of a seed."""
    chance = random.Random(seed)
    return [step_of(chance, chance.choice(kits)) for _ in range(length)]


def step_of(chance: random.Random, kit: str) -> Step:
    actions: list[Action] = ["advance", "run", "kill", "source fault", "store fault", "switch"]
    action = chance.choices(actions, [3, 2, 4, 2, 2, 1])[0]
    if action == "kill":
        return Step(kit, action, event=chance.randrange(MOST_EVENTS))
    if action == "source fault":
        fault = {**chance.choice(SOURCE_FAULTS), "skip": chance.randrange(6)}
        return Step(kit, action, fault=json.dumps(fault))
    if action == "store fault":
        store = chance.choice(list(STORE_FAULTS))
        kind, status = chance.choice(STORE_FAULTS[store])
        fault = {"kind": kind, "status": status, "call": chance.choice(list(CALLS[store]))}
        return Step(kit, action, store=store, fault=json.dumps(fault))
    return Step(kit, action)


class Soak:
    """One embedded stack; each trial of a sequence has worlds and datasets of its own."""

    def __init__(self, env: dict[str, str], through: Proxies) -> None:
        self.env, self.through = env, through
        self.trials = 0
        self.done: Counter[str] = Counter()

    def failure(self, steps: Sequence[Step]) -> str | None:
        """What is wrong after these steps and an undisturbed run; None when all is well."""
        self.trials += 1
        platforms: dict[str, TestPlatform] = {}
        for number, step in enumerate(steps):
            if step.kit not in platforms:
                platform = TestPlatform(
                    f"soak-{os.getpid()}-{self.trials}-{step.kit}".replace("_", "-"),
                    self.through.env,
                    step.kit,
                    landing=None,
                )
                platform.source.start(platform, SIZE)
                platforms[step.kit] = platform
            try:
                platforms[step.kit] = self.take(platforms[step.kit], step)
            except AssertionError as error:
                return f"step {number + 1}, {step}: {error}"
        for kit, platform in platforms.items():
            self.calm(platform)
            try:
                platform.run_in_child()
                platform.assert_equals_truth()
                platform.assert_settled()
            except AssertionError as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                return f"{kit}, {where.name}: {where.line}: {str(error)[:2000]}"
        return None

    def calm(self, platform: TestPlatform) -> None:
        self.through.reset()
        platform.control("faults", [])

    def take(self, platform: TestPlatform, step: Step) -> TestPlatform:
        """Let a step happen. A run may fail, and is killed only where that was asked for."""
        self.done[step.action] += 1
        match step.action:
            case "advance":
                if not platform.source.TABLE.is_replayable:
                    # What a run asked for and died over before it had committed it is gone with
                    # its hour, and not a fault.
                    self.calm(platform)
                    platform.run_in_child()
                platform.control("advance")
            case "run":
                self.calm(platform)
                platform.run_in_child()
            case "kill":
                self.calm(platform)
                platform.child(kill_at=step.event)
            case "source fault":
                self.calm(platform)
                platform.control("faults", [json.loads(step.fault)])
                platform.child()
            case "store fault":
                self.calm(platform)
                assert step.store
                self.through[step.store].plan = [Fault(**json.loads(step.fault))]
                platform.child()
            case "switch":
                now = platform.landing or lands_in(platform.kit)
                platform = replace(
                    platform, landing=LANDING_S3 if now == LANDING_GCS else LANDING_GCS
                )
        return platform

    def shortest(self, steps: list[Step]) -> list[Step]:
        """Delta debugging: no step of what is left can be taken away without it being well."""
        size = max(1, len(steps) // 2)
        while size:
            start = 0
            while start < len(steps):
                fewer = steps[:start] + steps[start + size :]
                if fewer and self.failure(fewer):
                    steps = fewer
                else:
                    start += size
            size //= 2
        return steps


@contextmanager
def stack() -> Iterator[Soak]:
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        embedded = Stack(Path(directory), isolated(os.environ))
        embedded.up(STORES)
        try:
            env = embedded.env()
            os.environ.update(env)
            multiprocessing.get_context("forkserver").set_forkserver_preload(
                [f"testing.kits.{kit}" for kit in KITS]
            )
            with proxies(env) as through:
                for variable in VARIABLES.values():
                    os.environ[variable] = through.env[variable]
                yield Soak(env, through)
        finally:
            embedded.down()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--minutes", type=float, default=20, help="begin none after so long")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps per sequence")
    options = parser.parse_args()
    started = time.monotonic()
    with stack() as soak:
        seeds = 0
        for seed in range(options.first, options.first + options.seeds):
            if time.monotonic() - started > options.minutes * 60:
                break
            steps = sequence(seed, length=options.steps)
            failure = soak.failure(steps)
            seeds += 1
            print(f"seed {seed}: {'failed' if failure else 'ok'}", flush=True)
            if failure:
                print(f"{failure}\nmaking it shorter ...", flush=True)
                left = soak.shortest(steps)
                again = soak.failure(left)
                print(f"seed {seed}, {len(left)} of {len(steps)} steps: {again or failure}")
                print("\n".join(f"  {step}" for step in left))
                return 1
        told = ", ".join(f"{number} {action}" for action, number in sorted(soak.done.items()))
        spent = time.monotonic() - started
        print(f"{seeds} seeds from {options.first}, {told}; {spent / 60:.1f} minutes: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
