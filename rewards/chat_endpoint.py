"""A chat model behind an OpenAI-compatible endpoint: vLLM, llama.cpp's server, or a service.

Standard library only. The key is read from the environment for each request; it stands in no setting, log or error.
"""

import functools
import http.client
import io
import json
import math
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

REPLY_BYTES = 1 << 20
FIRST_PAUSE = 0.25
"""Seconds before the second attempt; each later pause is twice as long."""
SHOWN_CHARACTERS = 200
VARIABLE = re.compile("[A-Z_][A-Z0-9_]{0,40}")
CREDENTIAL = re.compile(r"^(?:key|token)$|api[-_]?key|access[-_]?(?:key|token)|auth|bearer|secret|password", re.I)
"""Names of fields whose values nobody should find in a saved config."""


class EndpointError(RuntimeError):
    """No reply that can be read, and no more attempts."""


class _TemporaryError(Exception):
    def __init__(self, cause: str, wait: float = 0.0) -> None:
        super().__init__(cause)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it points."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


class _Timed(io.RawIOBase):
    """What a socket receives until a deadline, and not a byte later: a timeout of its own starts again with each."""

    def __init__(self, connection: socket.socket, stream: io.BufferedIOBase, deadline: float) -> None:
        self._connection, self._stream, self._deadline = connection, stream, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Ends at its deadline, whatever trickles in."""

    def __init__(self, connection: socket.socket, *arguments: object, deadline: float, **settings: object) -> None:
        super().__init__(connection, *arguments, **settings)  # type: ignore[arg-type]
        self.fp = io.BufferedReader(_Timed(connection, self.fp, deadline))


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_connect, http.client.HTTPConnection, self._deadline), request)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_connect, http.client.HTTPSConnection, self._deadline), request)


def _connect(
    kind: type[http.client.HTTPConnection], deadline: float, host: str, **settings: object
) -> http.client.HTTPConnection:
    connection = kind(host, **settings)  # type: ignore[arg-type]
    connection.response_class = functools.partial(_Response, deadline=deadline)  # type: ignore[assignment]
    return connection


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a chat model is, and how patiently it is asked."""

    url: str
    """Where the API begins, like `http://localhost:8000/v1`."""
    model: str
    """The model's name there."""
    key_variable: str | None = None
    """Name of the environment variable that holds the key; null: no key is sent."""
    timeout: float = 9.0
    """Seconds for an answer, retries included; less than the reward's own `timeout`."""
    retries: int = 2
    """Further requests after a status of 408, 429 or 5xx, or no answer at all."""
    concurrency: int = 16
    """Requests at a time from one process."""
    options: Mapping[str, object] = field(default_factory=dict)
    """More fields of the request, such as `max_tokens`. `temperature` is 0 unless set here."""
    key: str | None = field(default=None, repr=False)
    """Refused, so that no key is kept in a config; a name unknown here would be shown with its value. See
    `key_variable`."""
    api_key: str | None = field(default=None, repr=False)
    """Refused like `key`."""

    def __post_init__(self) -> None:
        for name in ("key", "api_key"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"Endpoint.{name}: what it holds is refused; set key_variable to the name of a variable"
                )
        parts = urlsplit(self.url)
        extra = {"@", "?", "#"} & set(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or extra:
            shown = "what it holds" if extra else repr(self.url)  # a password or a key may stand behind these
            raise ValueError(f"Endpoint.url: {shown} is refused; give http:// or https://, a host and a path only")
        if not self.model:
            raise ValueError("Endpoint.model: '' is refused; name the model")
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"Endpoint.timeout: {self.timeout} is refused; it must be a finite number above 0")
        for key, value, least in (("retries", self.retries, 0), ("concurrency", self.concurrency, 1)):
            if value < least:
                raise ValueError(f"Endpoint.{key}: {value} is refused; it must be at least {least}")
        if reserved := {"model", "messages", "stream"} & self.options.keys():
            raise ValueError(f"Endpoint.options: {', '.join(sorted(reserved))} cannot be set there")
        if names := [name for name in _names(self.options) if CREDENTIAL.search(name)]:
            raise ValueError(f"Endpoint.options: {names[0]!r} is refused; set key_variable to the name of a variable")
        self._key()

    def ask(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The model's reply to a chat. Raises EndpointError.

        Pauses between attempts double, unless the endpoint names one by Retry-After.
        """
        deadline = time.monotonic() + self.timeout
        fields = {"temperature": 0.0} | dict(self.options) | {"model": self.model, "messages": list(messages)}
        data = json.dumps(fields).encode()
        for attempt in range(self.retries + 1):
            try:
                return _content(self._post(data, deadline), self._key())
            except _TemporaryError as error:
                pause = max(error.wait, FIRST_PAUSE * 2**attempt)
                if attempt == self.retries or time.monotonic() + pause >= deadline:
                    raise EndpointError(f"{self.url}: {error} (attempt {attempt + 1})") from None
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _key(self) -> str | None:
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not key:  # it may be the key itself, by mistake
            shown = self.key_variable if VARIABLE.fullmatch(self.key_variable) else "variable of the name it holds"
            raise ValueError(f"Endpoint.key_variable: the environment has no {shown}; set it to the key")
        if not (key.isascii() and key.isprintable()) or " " in key:  # http.client would quote it in its error
            raise ValueError(f"Endpoint.key_variable: {self.key_variable} holds characters that no key can have")
        return key

    def _post(self, data: bytes, deadline: float) -> bytes:
        key = self._key()
        headers = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        request = urllib.request.Request(self.url.rstrip("/") + "/chat/completions", data, headers)
        opener = urllib.request.build_opener(_NoRedirect, _Plain(deadline), _Secure(deadline))
        try:
            with opener.open(request, timeout=max(0.001, deadline - time.monotonic())) as response:
                return _read(response)
        except urllib.error.HTTPError as error:
            cause = f"status {error.code}: {_reason(error, key)}"
            if error.code in (408, 429) or error.code >= 500:
                raise _TemporaryError(cause, _seconds(error.headers.get("Retry-After"))) from None
            raise EndpointError(f"{self.url}: {cause}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _TemporaryError(_shown(f"{type(error).__name__}: {error}".encode(), key)) from None


def _names(options: object) -> Iterator[str]:
    """The names of all fields, also of those within fields."""
    if isinstance(options, Mapping):
        for name, value in options.items():
            yield str(name)
            yield from _names(value)
    elif isinstance(options, list | tuple):
        for value in options:
            yield from _names(value)


def _read(response: http.client.HTTPResponse | urllib.error.HTTPError) -> bytes:
    body = b""
    while chunk := response.read1(1 << 16):
        body += chunk
        if len(body) > REPLY_BYTES:
            raise OSError(f"the reply is longer than {REPLY_BYTES} bytes")
    return body


def _reason(error: urllib.error.HTTPError, key: str | None) -> str:
    """What the endpoint says of its refusal, on one line and without the key, which some repeat."""
    try:
        with error:
            return _shown(_read(error), key)
    except (OSError, http.client.HTTPException):
        return "no reason given"


def _shown(body: bytes, key: str | None) -> str:
    return _without(key, " ".join(body.decode(errors="replace").split()))[:SHOWN_CHARACTERS]


def _without(key: str | None, text: str) -> str:
    """Also as it stands in JSON and in addresses."""
    for form in () if key is None else (key, json.dumps(key)[1:-1], key.replace("/", "\\/"), quote(key, safe="")):
        text = text.replace(form, "[key]")
    return text


def _seconds(retry_after: str | None) -> float:
    """Retry-After as a number of seconds; a date is not heeded."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0


def _content(body: bytes, key: str | None) -> str:
    """The message, without the key: a caller may show what it says."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        content = None
    if not isinstance(content, str):
        raise EndpointError(f"the reply is no chat completion: {_shown(body, key)!r}")
    return _without(key, content)
