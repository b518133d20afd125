"""A headless Chromium, controlled through a pipe by the DevTools protocol.

It needs no driver and no library: messages are JSON that ends in a zero byte. Chromium reads them
from its file descriptor 3 and writes to 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
# Moves two file descriptors to those that Chromium reads and writes, and becomes Chromium.
AS_3_AND_4 = """
import os, sys
spare = [os.dup(0), os.dup(0)]      # so that none of the copies is 3 or 4
moved = [os.dup(int(number)) for number in sys.argv[1:3]]
for number, old in zip((3, 4), moved):
    os.dup2(old, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a browser.

    Parameters
    ----------
    profile : path-like
        An empty folder.
    """

    def __init__(self, profile):
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                AS_3_AND_4,
                str(read_there),
                str(write_there),
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--allow-file-access-from-files",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
            ],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self._read, self._write = read_here, write_here
        self._buffer, self._number, self._session, self._events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        os.close(self._read)
        os.close(self._write)

    def _receive(self, seconds):
        """Return the next message; raise TimeoutError if none comes."""
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"browser: expected a message within {seconds} s, got none")
            part = os.read(self._read, 1 << 16)
            if not part:
                raise RuntimeError("browser: expected a message, got its end")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        """The result of a method of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(60)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._events.append(answer)

    def value(self, expression):
        """The value of an expression of JavaScript, which may be a promise of one."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def look(self, width, height=900, dark=False):
        """Set the window's size in pixels and the preferred colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def open(self, address, seconds=60):
        """Open a page and wait until it has loaded; return the console's complaints."""
        self._events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._receive(seconds))
        self.value("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        return [complaint for event in self._events for complaint in complaints(event)]

    def picture(self, path):
        """Write a picture of the whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        data = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1}
        )["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))


def complaints(event):
    """Return an event's complaint: an error on the console, an exception or a failed request."""
    what, details = event.get("method"), event.get("params", {})
    if what == "Runtime.consoleAPICalled" and details["type"] in ("error", "assert"):
        yield " ".join(str(part.get("value", part.get("description"))) for part in details["args"])
    elif what == "Runtime.exceptionThrown":
        thrown = details["exceptionDetails"]
        yield thrown.get("exception", {}).get("description", thrown["text"])
    elif what == "Log.entryAdded" and details["entry"]["level"] == "error":
        yield f"{details['entry']['text']} {details['entry'].get('url', '')}"
    elif what == "Network.loadingFailed" and not details.get("canceled"):
        yield f"{details['type']}: {details['errorText']}"
