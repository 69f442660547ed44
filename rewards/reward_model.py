"""A trained reward model as a reward: any sequence classification model, with its own tokenizer and chat template.

Best `inline: true`: then it sees the whole batch and keeps its device. In workers each process would load a model of
its own, on limited memory, and score one record at a time.
"""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from grpo_lightning.types import Record
from rewards.chat_marks import without_marks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 32
"""What is longer is cut before it is tokenized, which takes seconds for a megabyte; only runs of blanks lose by it."""

Dtype = Literal["float32", "bfloat16", "float16"]
Output = Literal["raw", "sigmoid", "softmax"]


class RewardModel:
    """The model's score of prompt and completion, as a chat of one turn, or one after the other without a template.

    Loads at the first call. A score does not depend on the batch it is computed in, rounding aside. Special tokens and
    the marks of common templates that the completion spells out become blanks: it cannot end its turn and speak for the
    user. What a text says in plain words still may sway the model, and a policy will find out.

    Args:
        pretrained: A local folder, or a name on the hub.
        revision: Branch, tag or commit on the hub.
        tokenizer: Folder or name of the tokenizer; null: the model's.
        output: `raw`: the logit; `sigmoid` of it; `softmax`: its share among the labels.
        label: Which logit, where the model has several labels.
        batch_size: Texts at a time.
        max_length: Tokens of prompt and completion. A longer text loses its beginning, since the score is read at its
            end.
        device: Like `cpu` or `cuda:1`; null: this process's GPU, if there is one.
        dtype: Of the weights.
        trust_remote_code: Run code that comes with the model.

    """

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        tokenizer: str | None = None,
        output: Output = "raw",
        label: int = 0,
        batch_size: int = 16,
        max_length: int = 4096,
        device: str | None = None,
        dtype: Dtype = "float32",
        trust_remote_code: bool = False,
    ) -> None:
        if not pretrained:
            raise ValueError("RewardModel.pretrained: '' is refused; give a folder, or a name on the hub")
        for key, value, choices in (("output", output, get_args(Output)), ("dtype", dtype, get_args(Dtype))):
            if value not in choices:
                raise ValueError(f"RewardModel.{key}: {value!r} is refused; it must be one of {', '.join(choices)}")
        for name, number, least in (("label", label, 0), ("batch_size", batch_size, 1), ("max_length", max_length, 1)):
            if number < least:
                raise ValueError(f"RewardModel.{name}: {number} is refused; it must be at least {least}")
        self.pretrained, self.revision, self.tokenizer = pretrained, revision, tokenizer or pretrained
        self.output, self.label, self.batch_size, self.max_length = output, label, batch_size, max_length
        self.device, self.dtype, self.trust_remote_code = device, dtype, trust_remote_code
        self._loaded: _Loaded | None = None

    def __call__(self, records: Sequence[Record]) -> list[float]:
        self._loaded = self._loaded or self._load()
        return self._loaded.scores(records)

    def __getstate__(self) -> dict[str, object]:
        """Without the model: another process loads its own."""
        return self.__dict__ | {"_loaded": None}

    def _load(self) -> "_Loaded":
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        chosen = {"trust_remote_code": self.trust_remote_code}
        revision = self.revision if self.tokenizer == self.pretrained else None
        tokenizer = AutoTokenizer.from_pretrained(self.tokenizer, revision=revision, **chosen)
        model = AutoModelForSequenceClassification.from_pretrained(
            self.pretrained, revision=self.revision, dtype=getattr(torch, self.dtype), **chosen
        )
        labels = model.config.num_labels
        if self.label >= labels:
            raise ValueError(f"RewardModel.label: {self.label} is refused; {self.pretrained} has {labels} labels")
        if self.output == "softmax" and labels == 1:
            raise ValueError(f"RewardModel.output: softmax is refused; {self.pretrained} has one label")
        device = self.device
        if device is None:
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
        return _Loaded(model.to(device).eval().requires_grad_(False), tokenizer, self)


class _Loaded:
    """A model on its device, and its tokenizer."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", settings: RewardModel) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        tokenizer.truncation_side = "left"
        config = model.config.get_text_config()
        if tokenizer.pad_token_id is None and config.pad_token_id is not None:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)
        # The model takes the last token that is no padding for the end of the text, so both have to mean the same one.
        config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
        self.batch_size = settings.batch_size
        if tokenizer.pad_token_id is None and self.batch_size > 1:
            log.warning("%s has no padding token: texts are scored one by one", settings.pretrained)
            self.batch_size = 1
        positions = getattr(config, "max_position_embeddings", None) or settings.max_length
        self.max_length = min(settings.max_length, positions, tokenizer.model_max_length)
        specials = {str(each) for each in tokenizer.added_tokens_decoder.values() if each.special}
        self.specials = sorted(specials | set(tokenizer.all_special_tokens), key=len, reverse=True)

    def scores(self, records: Sequence[Record]) -> list[float]:
        """One for each record. Texts of like length share a batch."""
        import torch

        encoded = [self.encode(record) for record in records]
        order = sorted(range(len(records)), key=lambda i: len(encoded[i]))
        scores = [math.nan] * len(records)
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                for i, score in zip(chosen, self.forward([encoded[i] for i in chosen]), strict=True):
                    scores[i] = score
        return scores

    def encode(self, record: Record) -> list[int]:
        """The tokens of prompt and completion."""
        completion = without_marks(record.completion)
        for special in self.specials:
            completion = completion.replace(special, " ")
        plain = self.tokenizer.chat_template is None
        if plain:
            text = record.prompt + completion
        else:  # a template writes its special tokens itself
            turns = [{"role": "user", "content": record.prompt}, {"role": "assistant", "content": completion}]
            text = str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        text = text[-CHARACTERS_PER_TOKEN * self.max_length :]
        text = text.encode(errors="replace").decode()  # half a surrogate pair is no text, and would fail the batch
        tokens = self.tokenizer(text, add_special_tokens=plain, truncation=True, max_length=self.max_length)
        return list(tokens["input_ids"])

    def forward(self, texts: list[list[int]]) -> Iterator[float]:
        """The scores of one batch."""
        import torch

        width, pad, device = max(map(len, texts)), self.tokenizer.pad_token_id or 0, self.model.device
        ids = torch.tensor([text + [pad] * (width - len(text)) for text in texts], device=device)
        mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts], device=device)
        logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits.float()
        if self.settings.output == "softmax":
            logits = logits.softmax(dim=-1)
        elif self.settings.output == "sigmoid":
            logits = logits.sigmoid()
        return iter(logits[:, self.settings.label].tolist())
