"""The data-only channel between the tests and the code under test.

Two processes call each other over it. What crosses are JSON frames that spell plain data, names of a few pure functions
of the standard library, and numbers that stand for objects which stay where they were made (`stubs`). Nothing
is unpickled and nothing that arrives is executed. Both ends run the same code; the end with the tests is *guarded*: it
takes the other for hostile, serves only what the tests handed out, and any surprise ends the conversation for good.

Lists, dictionaries and sets that crossed keep their identity: each message carries the changes since the last one, so
that arguments changed in place and attributes that hold lists behave as in one process.
"""

import _thread  # not threading, whose work after a fork every run would pay for
import importlib
import json
import os
from collections.abc import Callable, Mapping

from rewards.sandboxing.codec import Codec
from rewards.sandboxing.stubs import OPERATIONS, may_serve

MAX_FRAME = 16 << 20
"""Bytes of one message; a longer one ends the conversation."""


_MUCH = 4 << 20
"""Bytes from the code under test after which a process that it talked to is no longer light."""


_spell = json.JSONEncoder(separators=(",", ":")).encode
_ITERATION = frozenset({"__next__", "send", "throw", "close"})


def _read_message(data: bytes) -> object:
    return json.loads(data.decode("ascii"))


class ChannelBroken(BaseException):
    """The other end is gone or broke the protocol. Not an Exception: no `except Exception` of a test hides it."""


class Peer:
    """One end of the channel; calls nest to any depth, one thread at a time."""

    def __init__(self, descriptor: int, *, guarded: bool, lookup: Callable[[str], object] | None = None) -> None:
        """`lookup` serves the other end's questions for a global name; the end that has one serves the library, too."""
        self.broken = False
        """Once true, nothing that was asked after can be trusted."""
        self.expects_stop = not guarded
        """Whether StopIteration passes from calls, not only from iterators: it would end a `map` of the tests early."""
        self._received = 0
        self._descriptor = descriptor
        self._guarded = guarded
        self._lookup = lookup
        self._codec = Codec(self.ask, guarded=guarded)
        self._lock = _thread.RLock()
        self._depth = 0
        self.collect_output: Callable[[], str] = str
        self.replay_output: Callable[[str], object] = len
        self.read_input: Callable[[bool], str] = lambda _everything: ""

    def ask(self, operation: str, *arguments: object, **keywords: object) -> object:
        """Have the other end perform `operation`; its result, or its exception raised here."""
        with self._lock:
            self._depth += 1
            try:
                encode = self._codec.encode
                spelled = {name: encode(value) for name, value in keywords.items()}
                self._send({"o": operation, "a": [encode(each) for each in arguments], "k": spelled})
                return self._await_reply()
            except StopIteration as stop:
                if self.expects_stop or operation in _ITERATION:
                    raise
                raise RuntimeError("StopIteration from the code under test") from stop
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._codec.shared.forget_oldest()

    @property
    def is_light(self) -> bool:
        """Whether so little arrived, and nothing that can be changed, that this process is as it was."""
        return self._received < _MUCH and not self._codec.lent

    def serve(self) -> None:
        """Answer until the other end is gone."""
        while True:
            self._answer(self._receive())
            self._codec.shared.forget_oldest()

    def close(self) -> None:
        """End the conversation. What is left of it, as a generator that is collected later, can ask no more."""
        self.broken = True
        os.close(self._descriptor)

    def announce(self, error: BaseException | None) -> None:
        """Say that this end is ready, or why it never will be."""
        self._send({"v": None} if error is None else {"x": self._codec.encode_error(error)})

    def await_announcement(self) -> None:
        """Wait until the other end is ready; raises what it announced."""
        self._await_reply()

    def _await_reply(self) -> object:
        while True:
            message = self._receive()
            if "o" in message:
                self._answer(message)
            elif "x" in message:
                error = self._trust(self._codec.decode, message["x"])
                raise error if isinstance(error, BaseException) else self._break("not an exception")
            else:
                return self._trust(self._codec.decode, message.get("v"))

    def _answer(self, message: Mapping[str, object]) -> None:
        operation, spelled, named = message.get("o"), message.get("a"), message.get("k")
        if not isinstance(operation, str) or not isinstance(spelled, list) or not isinstance(named, dict):
            raise self._break("malformed request")
        arguments = [self._trust(self._codec.decode, each) for each in spelled]
        keywords = {name: self._trust(self._codec.decode, each) for name, each in named.items()}
        try:
            reply = {"v": self._codec.encode(self._perform(operation, arguments, keywords))}
        except ChannelBroken:
            raise
        except BaseException as error:
            reply = {"x": self._codec.encode_error(error)}
        self._send(reply)

    def _perform(self, operation: str, arguments: list[object], keywords: dict[str, object]) -> object:
        if operation == "input" and self._guarded:
            return self.read_input(bool(arguments[0]))
        if self._lookup is not None:
            if operation == "global":
                return self._lookup(str(arguments[0]))
            if operation == "library":
                module, name, *rest = arguments
                return getattr(importlib.import_module(str(module)), str(name))(*rest, **keywords)
        if self._guarded and not may_serve(operation, arguments):
            raise AttributeError(f"the tests do not share {operation} of this object")
        return OPERATIONS[operation](*arguments, **keywords)

    def _trust(self, decode: Callable[..., object], spelled: object) -> object:
        try:
            return decode(spelled)
        except ChannelBroken:
            raise
        except Exception as error:  # hostile data may fail anywhere in the decoder
            raise self._break(f"undecodable data: {type(error).__name__}") from None

    def _break(self, why: str) -> ChannelBroken:
        self.broken = True
        return ChannelBroken(why)

    def _send(self, message: dict[str, object]) -> None:
        if self.broken:
            raise ChannelBroken("the conversation is over")
        changes, printed = self._codec.changes(), self.collect_output()
        if changes:
            message["u"] = changes
        if printed:
            message["p"] = printed
        data = _spell(message).encode("ascii")
        if len(data) > MAX_FRAME:
            raise self._break("message too long")
        view = memoryview(len(data).to_bytes(4, "big") + data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            raise self._break("the other end is gone") from None

    def _receive(self) -> dict[str, object]:
        if self.broken:
            raise ChannelBroken("the conversation is over")
        size = int.from_bytes(self._read(4), "big")
        if size > MAX_FRAME:
            raise self._break("message too long")
        self._received += size
        message = self._trust(_read_message, self._read(size))
        if not isinstance(message, dict):
            raise self._break("malformed message")
        self._trust(self._codec.apply_changes, message.get("u", []))
        printed = message.get("p", "")
        if printed:
            self.replay_output(str(printed))
        return message

    def _read(self, size: int) -> bytes:
        chunks = []
        while size:
            try:
                chunk = os.read(self._descriptor, min(size, 1 << 20))
            except OSError:
                chunk = b""
            if not chunk:
                raise self._break("the other end is gone")
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)
