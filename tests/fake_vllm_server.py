"""A stand-in for `vllm serve` 0.33 on a local port: the endpoints that VLLMServer uses, answered by the tiny policy.

Its policy is a copy that only `reload_weights` changes. Like vLLM, it draws sample j of a request from the stream of
the request's seed plus j, whatever else it is asked; how a stream is made of a seed is the built-in engine's way.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.generation import BuiltinGenerator, SamplingConfig
from grpo_lightning.types import Completion, Prompt

Json = dict[str, object]

STOPS = {"eos": "stop", "stop": "stop", "length": "length"}


class FakeVLLM:
    """What the server knows. `faults` are met by the next completion requests, one each."""

    def __init__(self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.policy = policy
        self.generator = BuiltinGenerator(policy, tokenizer)
        self.lock = threading.Lock()
        self.paused = False
        self.weight_version = "default"
        self.mode, self.version, self.dev_mode = "raw_logprobs", "0.33.0", True
        self.faults: list[str] = []
        self.calls: list[str] = []
        self.seeds: list[int] = []
        self.keys: list[str | None] = []

    def get(self, path: str) -> tuple[int, Json]:
        answers: dict[str, Json] = {
            "/version": {"version": self.version},
            "/v1/models": {"object": "list", "data": [{"id": "tiny", "object": "model", "max_model_len": 128}]},
        }
        if self.dev_mode:
            answers["/server_info?config_format=json"] = {
                "vllm_config": {"model_config": {"model": "tiny", "logprobs_mode": self.mode}}
            }
        return (200, answers[path]) if path in answers else (404, {"detail": "Not Found"})

    def post(self, path: str, body: Json) -> tuple[int, Json]:
        self.calls.append(path)
        if path == "/v1/completions":
            return self.complete(body)
        if not self.dev_mode:
            return 404, {"detail": "Not Found"}
        if path == "/collective_rpc":
            return self.reload(body)
        if path in ("/pause?mode=wait", "/resume"):
            self.paused = path != "/resume"
        elif path == "/update_weight_version":
            self.weight_version = str(body["new_version"])
        elif path != "/reset_prefix_cache":
            return 404, {"detail": "Not Found"}
        return 200, {"success": True}

    def reload(self, body: Json) -> tuple[int, Json]:
        """As `Worker.reload_weights`: every *.safetensors of the folder, by the names of a checkpoint."""
        assert body["method"] == "reload_weights"
        assert self.paused, "weights change under requests"
        weights = {}
        for file in Path(body["kwargs"]["weights_path"]).glob("*.safetensors"):
            weights |= load_file(file)
        if not weights:
            return 500, {"error": {"message": "Cannot find any model weights", "code": 500}}
        missing, unexpected = self.policy.load_state_dict(weights, strict=False)
        assert not unexpected, f"unknown weights {unexpected}"
        assert set(missing) <= {"lm_head.weight"}, f"missing weights {missing}"
        return 200, {"results": [None]}

    def complete(self, body: Json) -> tuple[int, Json]:
        fault = self.faults.pop(0) if self.faults else ""
        if self.paused or fault == "busy":
            return 503, {"error": {"message": "The engine is paused", "type": "ServiceUnavailable", "code": 503}}
        if fault == "crash":
            return 500, {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}
        if fault == "refuse":
            return 400, {"error": {"message": "This model's maximum context\nis 16 tokens", "code": 400}}
        if body["n"] > 1 and body["temperature"] == 0:
            return 400, {"error": {"message": "n must be 1 when using greedy sampling", "code": 400}}
        if fault == "slow":
            time.sleep(1.5)
        self.seeds.append(body["seed"])
        choices = [self.choice(body, j, self.draw(body, j)) for j in range(body["n"])]
        damage(choices, fault)
        return 200, {"id": "cmpl-0", "object": "text_completion", "model": "tiny", "choices": choices}

    def draw(self, body: Json, sample: int) -> Completion:
        ids = tuple(body["prompt"])
        prompt = Prompt(uid=0, text="", token_ids=ids, answer=None, row={})
        sampling = SamplingConfig(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_k=body["top_k"],
            top_p=body["top_p"],
            min_p=body["min_p"],
            repetition_penalty=body["repetition_penalty"],
            stop=tuple(body["stop"]),
            stop_token_ids=tuple(body["stop_token_ids"]),
        )
        assert body["include_stop_str_in_output"] is True
        with self.lock:
            rollout = self.generator.generate([prompt], group_size=1, sampling=sampling, seed=body["seed"] + sample)
        return rollout.groups[0].completions[0]

    def choice(self, body: Json, index: int, completion: Completion) -> Json:
        found: Json = {"index": index, "text": completion.text, "finish_reason": STOPS[completion.stop_reason]}
        if body.get("return_token_ids"):
            found["token_ids"] = list(completion.token_ids)
        if body.get("logprobs") is not None:
            found["logprobs"] = {"token_logprobs": list(completion.sampler_logprobs), "top_logprobs": []}
        if body.get("return_weight_versions"):
            found["weight_versions"] = [{"version": self.weight_version, "start": 0, "end": len(completion.token_ids)}]
        return found


def damage(choices: list[Json], fault: str) -> None:
    """What could come instead of the right answer."""
    first = choices[0]
    match fault:
        case "no logprobs":
            first["logprobs"] = None
        case "no token ids":
            del first["token_ids"]
        case "few logprobs":
            first["logprobs"]["token_logprobs"].pop()
        case "few tokens":
            del first["token_ids"][-1], first["logprobs"]["token_logprobs"][-1]
        case "few choices":
            del choices[-1]
        case "restarted":
            first["weight_versions"][0]["version"] = "default"
        case "aborted":
            first["finish_reason"] = "abort"
        case "no number":
            first["logprobs"]["token_logprobs"][0] = "x"


class Handler(BaseHTTPRequestHandler):
    """HTTP around a FakeVLLM."""

    fake: FakeVLLM

    def do_GET(self) -> None:
        self.answer(*self.fake.get(self.path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.keys.append(self.headers["Authorization"])
        if self.fake.faults and self.fake.faults[0] in ("drop", "garbage", "list") and "completions" in self.path:
            match self.fake.faults.pop(0):
                case "drop":
                    self.close_connection = True
                case "garbage":
                    self.write(200, b'{"choices": [')
                case "list":
                    self.write(200, b"[]")
            return
        self.answer(*self.fake.post(self.path, body))

    def answer(self, status: int, body: Json) -> None:
        self.write(status, json.dumps(body).encode())

    def write(self, status: int, data: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:
            pass  # the client has given up

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, FakeVLLM]]:
    """The URL of a running server, and what it knows."""
    fake = FakeVLLM(policy, tokenizer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"fake": fake}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
