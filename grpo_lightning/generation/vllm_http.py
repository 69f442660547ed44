"""Asking vLLM servers over HTTP: JSON in, JSON out, tried again where that may help. The standard library only."""

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

log = logging.getLogger(__name__)

API_KEY = "VLLM_API_KEY"
"""Environment variable with the servers' key; it stays out of configs, logs and checkpoints."""

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another try may not meet; the others say that the request itself is wrong."""

LONGEST_PAUSE = 30.0
"""Seconds between two tries."""

Answer = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Http:
    """How servers are asked. `ask` may run in many threads; where `stopped` is set none of them tries again."""

    timeout: float
    """Seconds that one answer may take."""
    retries: int
    """Further tries after the first."""
    backoff: float
    """Seconds before the second try; each further pause is twice as long."""
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, urls: Sequence[str], path: str, body: Answer | None = None) -> tuple[str, Answer]:
        """The server that answered and its answer; each try goes to the next of `urls`. GET where `body` is None.

        RuntimeError, in one line with the URL: refused by the server, or none answered.
        """
        for attempt in range(self.retries + 1):
            url = urls[attempt % len(urls)]
            try:
                return url, self._once(url + path, body)
            except HTTPError as error:
                cause = f"HTTP {error.code}: {_message(error)}"
                if error.code not in TRANSIENT:
                    raise RuntimeError(f"engine: {url}{path} answered {cause}") from None
            except (OSError, HTTPException) as error:
                cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            except ValueError as error:
                cause = f"the answer is not a JSON object: {error}"
            if attempt < self.retries:
                pause = min(LONGEST_PAUSE, self.backoff * 2**attempt)
                log.warning("engine: %s%s gave no answer (%s); next try in %g s", url, path, cause, pause)
                if self.stopped.wait(pause):
                    raise RuntimeError(f"engine: {url}{path} was given up")
        raise RuntimeError(f"engine: {url}{path} gave no answer in {self.retries + 1} tries: {cause}")

    def _once(self, url: str, body: Answer | None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(API_KEY):
            headers["Authorization"] = f"Bearer {key}"
        with urlopen(Request(url, data=data, headers=headers), timeout=self.timeout) as response:
            text = response.read()
        if not text:
            return {}
        answer = json.loads(text)
        if not isinstance(answer, dict):
            raise ValueError(f"a {type(answer).__name__} came")
        return answer


def _message(error: HTTPError) -> str:
    """What the server says of an error: vLLM's own message, or the beginning of what came."""
    text = error.read().decode(errors="replace")
    try:
        found = json.loads(text)["error"]
        text = str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(text.split())[:300] or error.reason
