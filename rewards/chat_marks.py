"""What chat templates set between turns, by which a completion could end its turn and speak for somebody else.

Not a reward. For rewards that show a completion to a model: a blank takes the place of each mark, so that what is left
around it makes no new one. Names, such as `User:`, are no marks: any text may hold them.
"""

import re

MARK = re.compile(
    r"<[|｜][^\s<>]{1,64}[|｜]>|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_[a-z]{1,9}>|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)


def without_marks(text: str) -> str:
    """The text with a blank for each mark."""
    return MARK.sub(" ", text)
