"""A headless Chromium, driven over pipes by its own protocol (CDP); for tests, with the standard library only.

python -m tests.browser RUNS TAB PICTURE makes a picture of TensorBoard, as in
python -m tests.browser runs custom_scalars docs/tensorboard.png
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)

DEEP = """
function deep(root, selector) {
  const found = [...root.querySelectorAll(selector)];
  for (const each of root.querySelectorAll('*'))
    if (each.shadowRoot) found.push(...deep(each.shadowRoot, selector));
  return found;
}
"""
"""`deep(document, SELECTOR)`: also within the shadows that TensorBoard's elements cast."""


class Page:
    """One tab."""

    def __init__(self, sends: int, hears: int) -> None:
        self._sends, self._hears, self._rest, self._number = sends, hears, b"", 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **params: object) -> dict:
        """One command of the protocol and its answer; what the browser says in between is dropped."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._sends, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                chunk = os.read(self._hears, 1 << 20)
                if not chunk:
                    raise RuntimeError("the browser has gone")
                self._rest += chunk
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def go(self, url: str, width: int = 1400, height: int = 1000) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url="about:blank")  # or another place on the same page loads nothing
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> object:
        """The value of a JavaScript expression, in which `deep` is known."""
        answer = self.call("Runtime.evaluate", expression=f"{DEEP}\n{script}", returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60.0) -> object:
        """The value, once it is true; raises TimeoutError with what it was instead."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"{script} is still {found!r}")
            time.sleep(0.3)
        return found

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """A browser with one page, and a profile of its own that goes with it."""
    assert CHROMIUM is not None
    hears, tells = os.pipe()  # the browser reads from its descriptor 3 and writes to 4
    listens, says = os.pipe()
    profile = tempfile.mkdtemp(prefix="chromium-")
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    shell = f'exec "$@" 3<&{hears} 4>&{says}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *words],
        pass_fds=(hears, says),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (hears, says):
        os.close(end)
    try:
        yield Page(tells, listens)
    finally:
        process.kill()
        process.wait()
        for end in (tells, listens):
            os.close(end)
        shutil.rmtree(profile, ignore_errors=True)


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows the folder, once it answers."""
    words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "http://" in line:
                yield "http://" + line.partition("http://")[2].split()[0]
                return
        raise RuntimeError("TensorBoard did not start")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def main(runs: Path, tab: str, picture: Path) -> None:
    with tensorboard(runs) as url, browser() as page:
        page.go(f"{url}#{tab}", width=1500, height=1370)
        time.sleep(15)  # until all is drawn
        page.picture(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
