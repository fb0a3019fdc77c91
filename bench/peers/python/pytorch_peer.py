"""PyTorch, eager or compiled.

Compiled means torch.compile with frozen weights, so that inductor packs them once: a prefill for each prompt length, decoding
once for any position. Of inductor's settings those that were fastest: max_autotune helps decoding and slows a prefill.
"""
import torch
from model import Cache, load as load_model
from serve import serve


class PyTorchPeer:
    def __init__(self, weights: str, dtype: str, threads: int, compiled: bool):
        torch.set_num_threads(threads)
        self.versions = {"PyTorch": torch.__version__}
        dtype = getattr(torch, dtype)
        self.model = load_model(weights, dtype)
        self.cache = Cache(self.model.blocks, self.model.config, dtype)
        self.prefill = self.decode = self.model.forward
        if compiled:
            self.prefill = torch.compile(self.model.forward, dynamic=False, options={"freezing": True})
            self.decode = torch.compile(
                self.model.forward, dynamic=True, options={"freezing": True, "max_autotune": True})

    @torch.inference_mode()
    def generate(self, prompt, count):
        token = self.prefill(torch.tensor([prompt]), self.cache, 0).argmax().item()
        yield token
        for position in range(len(prompt), len(prompt) + count - 1):
            token = self.decode(torch.tensor([[token]]), self.cache, position).argmax().item()
            yield token

    @torch.inference_mode()
    def logits(self, prompt, token):
        first = self.prefill(torch.tensor([prompt]), self.cache, 0)
        second = self.decode(torch.tensor([[token]]), self.cache, len(prompt))
        return torch.cat([first, second]).float().numpy()


serve(PyTorchPeer)
