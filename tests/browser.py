"""A page in headless Chromium, asked through its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

START_SECONDS = 60.0
WAIT_SECONDS = 60.0


class Page:
    """One open page. JavaScript errors that nothing caught are in `errors`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = 0
        self.errors: list[str] = []
        self._call("Runtime.enable")
        self._call("Page.enable")

    def open(self, address: str) -> None:
        answer = self._call("Page.navigate", url=address)
        assert "errorText" not in answer, answer

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"{expression}: {self.evaluate('document.title')}"
            time.sleep(0.1)
        return value

    def screenshot(self, file: Path) -> None:
        answer = self._call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(request))
        while True:
            message = json.loads(self._connection.recv(timeout=WAIT_SECONDS))
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """An empty page of a Chromium of its own; the test is skipped where none is installed."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    process = subprocess.Popen(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--hide-scrollbars"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1400,900"),
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + START_SECONDS
        while not (port_file.exists() and port_file.read_text().strip()):
            assert process.poll() is None and time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            targets = json.load(answer)
        (address,) = [
            target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"
        ]
        with connect(address, max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(timeout=30)
