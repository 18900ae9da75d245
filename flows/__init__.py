"""The sources' runs and each job as flows. Tasks are Prefect's in a flow run."""

import runpy
import sys

if sys.argv[0] == "-m":  # `python -m flows.<source>` and `flows.moving_in`, until 0.2.0
    old = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    name = old.removeprefix("flows.")
    new = ["migration"] if name == "moving_in" else ["repair", name.replace("_", "-")]
    print(f"python -m {old} is now: python -m {' '.join(new)}", file=sys.stderr)
    sys.argv[1:1] = new[1:]
    runpy.run_module(new[0], run_name="__main__", alter_sys=True)
    sys.exit()

import tasks.prefect_tasks  # noqa: F401
