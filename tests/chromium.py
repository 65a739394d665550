"""Chromium without a window, for the tests of docs/index.html."""

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Told what to do through a pipe, in the DevTools protocol: no driver to install."""

    def __init__(self, profile: Path) -> None:
        read, to_browser = os.pipe()
        from_browser, write = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
        options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
        options += " --disable-background-networking --remote-debugging-pipe"
        command = [CHROMIUM, *options.split(), f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", *command],
            pass_fds=ends,
            stderr=subprocess.DEVNULL,
        )
        for end in (read, write, *ends):
            os.close(end)
        self.out, self.into = os.fdopen(to_browser, "wb", 0), os.fdopen(from_browser, "rb", 0)
        self.numbers, self.events, self.rest, self.session = itertools.count(1), [], b"", {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self) -> dict:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.into], [], [], 60)
            part = self.into.read(1 << 20) if ready else b""
            assert part, "the browser is gone" if ready else "the browser does not answer"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, **params: object) -> dict:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params, **self.session}
        self.out.write(json.dumps(message).encode() + b"\0")
        while (message := self.receive()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def open(self, url: str) -> None:
        self.page = url
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def run(self, expression: str) -> object:
        """The value of an expression in the page; of a promise, what it comes to."""
        options = {"returnByValue": True, "awaitPromise": True}
        done = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def go(self, address: str) -> None:
        """Follow an address, and wait until it is drawn."""
        drawn = "new Promise((done) => setTimeout(done, 30))"
        self.run(f"location.hash = {json.dumps(address)}; {drawn}")

    def until(self, expression: str, value: object, seconds: float = 10) -> None:
        """Wait for what the page does on its own time."""
        end = time.monotonic() + seconds
        while (now := self.run(expression)) != value:
            assert time.monotonic() < end, (expression, now, value)

    def click(self, selector: str, right: float = 0.55, down: float = 0.55) -> None:
        """With the mouse, on the first such element, so far right and down in it."""
        place = f"r.x + {right} * r.width, r.y + {down} * r.height"
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'center'}})")
        x, y = self.run(f"{{ const r = {element}.getBoundingClientRect(); [{place}] }}")
        for kind in ("mousePressed", "mouseReleased"):
            options = {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)

    def press(self, key: str, code: int) -> None:
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            options = {"key": key, "code": key, "windowsVirtualKeyCode": code, **text}
            self.call("Input.dispatchKeyEvent", type=kind, **options)
            text = {}

    def size(self, width: int, height: int = 900) -> None:
        options = {"deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **options)

    def complaints(self) -> list[dict]:
        """Errors in the console, and what was asked of the network."""
        self.run("0")
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            entry = params.get("entry", params)
            loud = entry.get("level") in ("error", "warning") or entry.get("type") in (
                "error",
                "assert",
            )
            if method == "Runtime.exceptionThrown" or (
                method in ("Log.entryAdded", "Runtime.consoleAPICalled") and loud
            ):
                found.append(event)
            if method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("data:", self.page)):
                    found.append(event)
        return found
