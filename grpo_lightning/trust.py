"""What a config may not hold: secrets, because the run's folder keeps the config; and calls of any function it likes.

A config is trusted to name good code, because importing a module runs it. But it names classes, which are instantiated,
and functions that are called as rewards; `class_path: os.system` would be called with its `init_args` while the config
is still being read.
"""

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType

from jsonargparse import Namespace

SECRET_NAMES = re.compile(r"(^|_)((api|access|secret)_?key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
"""Environment variables whose values are secrets."""

SECRET_SETTINGS = re.compile(
    r"(^|_)((api|access|secret)_?key|secret|password|passwd|(hf|auth|access|bearer)_token)$", re.IGNORECASE
)
"""Settings whose values are secrets. `eos_token` and its like are none."""

SECRET_VALUES = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|AKIA[A-Z0-9]{16})"
)
"""What keys of the Hugging Face hub, OpenAI and its like, GitHub and AWS look like."""

SHORTEST = 8
"""Characters of a secret in the environment; shorter ones are found in innocent words."""


def check_config(config: Namespace, environment: Mapping[str, str] = os.environ) -> None:
    """Refuses secrets, functions in place of classes, and what comes from the standard library; one line each."""
    secrets = {
        name: value for name, value in environment.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST
    }
    for place, value in _leaves(config, ""):
        key = place.rpartition(".")[2]
        if isinstance(value, str) and key == "class_path":
            _check_code(place, value, _named(value), function=False)
        elif isinstance(value, str):
            known = [name for name, secret in secrets.items() if secret in value]
            if known or SECRET_VALUES.search(value) or (SECRET_SETTINGS.search(key) and value):
                source = f", here {known[0]}," if known else ""
                raise ValueError(
                    f"{place}: holds a secret, which is refused because the run's folder keeps its config; let what "
                    f"needs it read an environment variable{source} itself"
                )
        elif callable(value):
            _check_code(place, f"{value.__module__}.{getattr(value, '__qualname__', value)}", value, function=True)


def _check_code(place: str, name: str, value: object, *, function: bool) -> None:
    """A class; or, as a whole value, a function that Python code defines. None: not known here, and left to others."""
    if value is None:
        return
    origin = {str(getattr(value, "__module__", "")).partition(".")[0], name.partition(".")[0]}
    foreign = origin & ({*sys.stdlib_module_names} - {"__main__"})
    if foreign or not (inspect.isclass(value) or (function and not inspect.isbuiltin(value))):
        raise ValueError(
            f"{place}: {name!r} is refused; a config names classes (class_path) and reward functions, and none of "
            "Python's own"
        )


def _leaves(value: object, place: str) -> Iterator[tuple[str, object]]:
    """Every value that holds no others, with the keys that lead to it."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}[{number}]")
    else:
        yield place, value


def _named(path: str) -> object:
    """What the dotted path names, among the modules that reading the config has imported; None if it is not there."""
    words = path.split(".")
    for length in range(len(words) - 1, 0, -1):
        found: object = sys.modules.get(".".join(words[:length]))
        if isinstance(found, ModuleType):
            for word in words[length:]:
                found = getattr(found, word, None)
            return found
    return None
