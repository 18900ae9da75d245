"""A process's own peak of memory. getrusage's begins with that of whoever started the process.

`python -m tools.bench.memory STATEMENT` prints what a statement took in a process of its own.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path


def peak_rss_bytes(pid: int | str = "self") -> int:
    """Raises OSError when there is no such process, or one that has ended and is not waited for."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if not found:
        raise ProcessLookupError(pid)
    return int(found[1]) * 1024


def forget_peak() -> None:
    """The peak is from now on that of what follows (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    exec(sys.argv[1])  # noqa: S102  # an import that tools/bench/startup.py names
    print(json.dumps({"cpu_seconds": time.process_time(), "peak_rss_bytes": peak_rss_bytes()}))
