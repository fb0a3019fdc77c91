"""ONNX Runtime from Python: keys and values stay with the runtime, as OrtValues."""
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime import OrtValue
from serve import serve


class OnnxRuntimePeer:
    def __init__(self, model: str, threads: int):
        self.versions = {"ONNX Runtime": onnxruntime.__version__}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # While another peer is timed, no thread of this one may spin.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.first, self.next = (
            onnxruntime.InferenceSession(Path(model) / f"{name}.onnx", options, ["CPUExecutionProvider"])
            for name in ("prefill", "decode"))
        self.outputs = [output.name for output in self.first.get_outputs()]
        self.past = [name.name for name in self.next.get_inputs()][1:]

    def prefill(self, prompt):
        return self.first.run_with_ort_values(self.outputs, {"ids": ids(prompt)})

    def decode(self, token, state):
        return self.next.run_with_ort_values(self.outputs, {"ids": ids([token]), **dict(zip(self.past, state))})

    def generate(self, prompt, count):
        logits, *state = self.prefill(prompt)
        yield (token := int(logits.numpy().argmax()))
        for _ in range(count - 1):
            logits, *state = self.decode(token, state)
            yield (token := int(logits.numpy().argmax()))

    def logits(self, prompt, token):
        first, *state = self.prefill(prompt)
        second, *_ = self.decode(token, state)
        return np.concatenate([first.numpy(), second.numpy()])


def ids(tokens: list[int]) -> OrtValue:
    """int64 [1,T]"""
    return OrtValue.ortvalue_from_numpy(np.array([tokens], dtype=np.int64))


if __name__ == "__main__":
    serve(OnnxRuntimePeer)
