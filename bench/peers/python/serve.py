"""The line protocol of a peer: a JSON request a line on stdin, a JSON reply a line on stdout; see ../worker.ts."""
import base64
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Peer(Protocol):
    versions: dict[str, str]

    def generate(self, prompt: list[int], count: int) -> Iterator[int]:
        """The first `count` tokens of the greedy continuation, as they come."""

    def logits(self, prompt: list[int], token: int) -> np.ndarray:
        """float32 [2,V]: after the prompt, and one decode step later, after `token`."""


def generate(peer: Peer, prompt: list[int], count: int) -> dict:
    times, tokens = [time.perf_counter()], []
    for token in peer.generate(prompt, count):
        times.append(time.perf_counter())
        tokens.append(token)
    return {
        "tokens": tokens,
        "ttftMs": 1e3 * (times[1] - times[0]),
        "decodeMsPerToken": 1e3 * (times[-1] - times[1]) / (count - 1) if count > 1 else None,
    }


def logits(peer: Peer, prompt: list[int], token: int) -> dict:
    rows = np.ascontiguousarray(peer.logits(prompt, token), dtype=np.float32)
    return {"float32": base64.b64encode(rows.tobytes()).decode()}


def serve(load) -> None:
    """`load(**parameters)` makes the Peer; it is the first request."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    peer = None
    for line in sys.stdin:
        request = json.loads(line)
        action, parameters = request["do"], request["with"]
        try:
            if action == "load":
                peer = load(**parameters)
                result = {"versions": peer.versions}
            else:
                result = {"generate": generate, "logits": logits}[action](peer, **parameters)
            reply = {"result": result}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)
