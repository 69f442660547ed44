"""The Hugging Face hub, asked once whether it answers, so that nobody waits for it in silence.

Its libraries try again and again: a hub that accepts connections and says nothing costs minutes for each file.
"""

import functools
import logging
import sys
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

from grpo_lightning.waiting import waiting


def prepare_hub(name: str) -> None:
    """Goes offline for good, where only what is cached can be loaded, if `name` is of a hub that does not answer.

    It has HF_HUB_ETAG_TIMEOUT seconds (10). Nothing happens for a local path, or with HF_HUB_OFFLINE.
    """
    if constants.HF_HUB_OFFLINE or Path(name).expanduser().exists():
        return
    cause = _silence()
    if cause is not None:
        logging.getLogger(__name__).warning("%s; %s is looked for in the cache only", cause, name)
        constants.HF_HUB_OFFLINE = True
        if (config := sys.modules.get("datasets.config")) is not None:
            vars(config)["HF_HUB_OFFLINE"] = True


@functools.cache
def _silence() -> str | None:
    """That the hub does not answer, and why; None if it does, whatever it says."""
    try:
        with waiting(f"{constants.ENDPOINT} to answer"):
            get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # of whichever library it asks with
        return f"{constants.ENDPOINT} gave no answer within {constants.HF_HUB_ETAG_TIMEOUT} s ({type(error).__name__})"
    return None
