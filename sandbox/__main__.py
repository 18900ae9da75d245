"""python -m sandbox up | status | down | run COMMAND..."""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sandbox.processes import SurvivorsError
from sandbox.stack import DEFAULT_STATE, NAMES, ROOT, Stack
from sandbox.state_file import SandboxError

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _status(stack: Stack) -> int:
    lines = stack.status()
    for line in lines:
        print(f"{line.name:<9} {line.condition:<8} {line.pid or '-':>8}  {line.address}".rstrip())
    return 1 if any(line.condition == "dead" for line in lines) else 0


def _run(stack: Stack, argv: list[str]) -> NoReturn:
    """Become a command that has the stack's variables and the programs of this environment.

    What dbt writes is kept with the stack, outside of the checkout.
    """
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "DBT_PROJECT_DIR": str(ROOT / "dbt"),
        "DBT_PROFILES_DIR": str(ROOT / "dbt"),
        "DBT_TARGET_PATH": str(stack.directory / "dbt" / "target"),
        "DBT_LOG_PATH": str(stack.directory / "dbt" / "logs"),
    }
    environ = os.environ | stack.env() | own
    try:
        os.execvpe(argv[0], argv, environ)  # noqa: S606
    except OSError as error:
        raise SandboxError(f"{argv[0]}: {error.strerror}") from error


def _interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwinds `up`, which stops what it started, and lets it finish that."""
    for other in INTERRUPTS:
        signal.signal(other, signal.SIG_IGN)
    print(f"interrupted by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)


def _end_with(parent: int) -> None:
    """Interrupt this process when its parent has died: nobody waits for it any more."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """The exit code: 1 when a part failed or, for `status`, when one that was started is dead."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--state", type=Path, metavar="DIR", help="default: .sandbox here")
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="The embedded stack.", parents=[common]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", parents=[common], help="start what does not run")
    up.add_argument("--parts", default=",".join(NAMES), help="default: %(default)s")
    commands.add_parser("status", parents=[common], help="1 if a started part is dead")
    commands.add_parser("down", parents=[common], help="stop everything")
    run = commands.add_parser("run", parents=[common], help="a command with the stack's variables")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args()

    for number in INTERRUPTS:
        signal.signal(number, _interrupted)
    stack = Stack(
        getattr(options, "state", DEFAULT_STATE),
        say=lambda line: print(line, flush=True),
        outlives=True,
    )
    try:
        if options.command == "status":
            return _status(stack)
        if options.command == "run":
            _run(stack, options.argv)
        if options.command == "down":
            if not stack.down():
                print("nothing was running")
            return 0
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        began = time.monotonic()
        stack.up([name.strip() for name in options.parts.split(",")])
        print(f"up in {time.monotonic() - began:.1f} s; variables in {stack.directory / 'env'}")
    except (FileNotFoundError, SandboxError, SurvivorsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
