"""A browser to look at a page with: Chromium driven by its own protocol over two pipes, with nothing in between."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 60.0
_KEYS = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "PageDown": 34, "Tab": 9, " ": 32}  # fmt: skip
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def program() -> str | None:
    """The browser of this machine, if it has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


_STARTER = """
import os, sys
high = [os.dup2(int(number), 60 + place) for place, number in enumerate(sys.argv[1:3])]
os.dup2(high[0], 3), os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads commands from descriptor 3 and answers on 4, whatever numbers the pipes have here."""


class Browser:
    """A headless browser with a profile of its own. ``events`` keeps everything that pages ask of the network, log or raise."""

    def __init__(self, folder: Path) -> None:
        found = program()
        assert found, "there is no browser"
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        started = [
            sys.executable,
            "-c",
            _STARTER,
            str(commands),
            str(answers),
            found,
            *_FLAGS,
            f"--user-data-dir={folder}",
        ]
        self._process = subprocess.Popen(
            started, pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", session=False, url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", session=False, targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call("Browser.close", session=False)
        except (OSError, TimeoutError):
            self._process.kill()
        self._process.wait(_PATIENCE)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, *, session: bool = True, **parameters: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer. Raises ``RuntimeError`` if the browser refuses."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(answer["error"]["message"])
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise TimeoutError("the browser does not answer")
            got = os.read(self._in, 1 << 20)
            if not got:
                raise BrokenPipeError("the browser is gone")
            self._buffer += got
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def happened(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of all events of these kinds since the page was opened."""
        self.run("0")
        return [event["params"] for event in self.events if event.get("method") in methods]

    # -- a page

    def size(self, width: int, height: int = 900) -> None:
        """Make the window so large, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name: str) -> None:
        """Prefer ``light`` or ``dark``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, page: Path, fragment: str = "") -> None:
        """Open a file anew, and wait until its script says that it is ready."""
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri() + fragment)
        self.until("document.documentElement?.dataset.ready")

    def run(self, expression: str) -> Any:
        """The value of an expression of the page. Raises ``RuntimeError`` where it raises."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + _PATIENCE
        while not self.run(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise TimeoutError(f"it never came true: {expression}")
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """The text of the elements that a selector finds, as it is seen."""
        return str(
            self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.innerText).join('\\n')")
        )

    def count(self, selector: str) -> int:
        """How many elements a selector finds."""
        return int(self.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that a selector finds, as a mouse does, once nothing moves any more."""
        self.run("document.getAnimations().forEach((one) => one.finish())")
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{found}.scrollIntoView({{block: 'center', inline: 'center'}})")
        box = self.run(
            f"(({{x, y, width, height}}) => ({{x: x + width / 2, y: y + height / 2}}))({found}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box["x"], y=box["y"], button="left", clickCount=1)

    def press(self, *keys: str, control: bool = False) -> None:
        """Press keys, one after the other."""
        for key in keys:
            typed = {"Enter": "\r", " ": " "}.get(key)
            told = {"key": key, "windowsVirtualKeyCode": _KEYS[key], "modifiers": 2 if control else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown", **told, **({"text": typed} if typed else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def type(self, text: str) -> None:
        """Type where the focus is."""
        self.call("Input.insertText", text=text)
