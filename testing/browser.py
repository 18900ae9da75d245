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
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

START_SECONDS = 600.0
WAIT_SECONDS = 600.0


class Page:
    """One open page. `errors` has JavaScript errors that nothing caught, and what the policy of the
    page refused."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = 0
        self.errors: list[str] = []
        # Addresses that were asked for since the page was opened.
        self.requests: list[str] = []
        self._call("Runtime.enable")
        self._call("Log.enable")
        self._call("Page.enable")
        self._call("Network.enable")

    def look_like(self, width: int, scheme: str, height: int = 900) -> None:
        """A screen of so many pixels whose system is `light` or `dark`."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=wanted)

    def be_in(self, time_zone: str) -> None:
        """The browser's clock is of this zone."""
        self._call("Emulation.setTimezoneOverride", timezoneId=time_zone)

    def set_clock(self, moment: datetime) -> None:
        """Pages that are opened from now on believe that it is then."""
        source = f"Date.now = () => {moment.timestamp() * 1000:.0f};"
        self._call("Page.addScriptToEvaluateOnNewDocument", source=source)

    def move_to(self, x: float, y: float) -> None:
        """The mouse is there, in pixels of the window."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def open(self, address: str) -> None:
        self.requests.clear()
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

    def screenshot(self, file: Path, height: int | None = None) -> None:
        """The window, or the page from its top to `height`."""
        wanted: dict[str, Any] = {"format": "png"}
        if height:
            width = self.evaluate("innerWidth")
            wanted["captureBeyondViewport"] = True
            wanted["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self._call("Page.captureScreenshot", **wanted)
        file.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(request))
        while True:
            message = json.loads(self._connection.recv(timeout=WAIT_SECONDS))
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
            if message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                if entry["source"] == "security":
                    self.errors.append(entry["text"])
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
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
        process.wait(timeout=600)
