"""The two models of the benchmark in PyTorch, written for inference: fused q,k,v, scaled_dot_product_attention, a
preallocated key/value cache, and the head on the last row alone.

B = 1 sequence, T tokens of this step, d hidden size, h heads of one way, hd their size, P positions, V vocabulary.
Weights come from a one-rank float32 engine, whose tensors carry the ways as their first dimension.
"""
import json
from functools import reduce
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open


class Cache:
    """Keys and values of every block, [B,h,P,hd] each, filled from the front."""

    def __init__(self, blocks: int, config: dict, dtype: torch.dtype):
        shape = (1, config["heads"], config["maxPositions"], config["headDim"])
        self.keys = [torch.zeros(shape, dtype=dtype) for _ in range(blocks)]
        self.values = [torch.zeros(shape, dtype=dtype) for _ in range(blocks)]

    def extend(self, block: int, k, v, first: int):
        """k, v [B,h,T,hd] of the tokens at `first` and behind -> those of all tokens so far."""
        end = first + k.shape[2]
        keys, values = self.keys[block], self.values[block]
        keys[:, :, first:end] = k
        values[:, :, first:end] = v
        return (k, v) if first == 0 else (keys[:, :, :end], values[:, :, :end])


class Attention(nn.Module):
    def __init__(self, config: dict, index: int):
        super().__init__()
        d, bias = config["hiddenSize"], config["bias"]
        self.index = index  # which block's keys and values are its own
        self.heads = config["heads"]
        self.qkv = nn.Linear(d, 3 * d, bias=bias["qkv"])
        self.proj = nn.Linear(d, d, bias=bias["attnProj"])

    def forward(self, x, cache, first: int):
        """A prefill starts at position 0; a decode step is one token, at position `first`."""
        b, t, d = x.shape
        q, k, v = (m.view(b, t, self.heads, d // self.heads).transpose(1, 2) for m in self.qkv(x).split(d, dim=-1))
        k, v = cache.extend(self.index, k, v, first)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=bool(t > 1))
        return self.proj(y.transpose(1, 2).reshape(b, t, d))


class Mlp(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        d, f, bias = config["hiddenSize"], config["ffnSize"], config["bias"]["mlp"]
        self.up = nn.Linear(d, f, bias=bias)
        self.down = nn.Linear(f, d, bias=bias)

    def forward(self, x):
        return self.down(F.gelu(self.up(x), approximate="tanh"))


def norm(config: dict) -> nn.LayerNorm:
    return nn.LayerNorm(config["hiddenSize"], eps=config["norm"]["eps"], bias=config["norm"]["bias"])


class Block(nn.Module):
    """One way's part of one layer."""

    def __init__(self, config: dict, index: int):
        super().__init__()
        self.norm1, self.norm2 = norm(config), norm(config)
        self.attn = Attention(config, index)
        self.mlp = Mlp(config)

    def forward(self, x, others, cache, first):
        """`others` [B,T,d]: what the other ways' streams held before this layer; None where there are none."""
        a = x + self.attn(self.norm1(x), cache, first)
        return a + self.mlp(self.norm2(a if others is None else a + others))


class LanguageModel(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        d, ways = config["hiddenSize"], config.get("ways", 1)
        self.config = config
        self.tokens = nn.Embedding(config["vocabSize"], d)
        self.positions = nn.Embedding(config["maxPositions"], d)
        self.layers = nn.ModuleList(
            nn.ModuleList(Block(config, layer * ways + way) for way in range(ways)) for layer in range(config["layers"]))
        self.conjunction = nn.Linear(ways * d, d, bias=config["conjunctionBias"]) if ways > 1 else None
        self.final_norm = norm(config)

    @property
    def blocks(self) -> int:
        return sum(len(ways) for ways in self.layers)

    def forward(self, ids, cache, first: int):
        """ids [B,T] -> logits [B,V] of the token after the last."""
        t = ids.shape[1]
        x = self.tokens(ids) + self.positions.weight[first:first + t]
        streams = [x] * len(self.layers[0])
        for layer, blocks in enumerate(self.layers):
            # Layer 0 has no exchange: all streams are still equal.
            total = None if layer == 0 or len(streams) == 1 else reduce(torch.add, streams)
            streams = [block(x, None if total is None else total - x, cache, first) for block, x in zip(blocks, streams)]
        last = torch.cat([x[:, -1] for x in streams], dim=-1)
        if self.conjunction is not None:
            last = self.conjunction(last)
        return F.linear(self.final_norm(last), self.tokens.weight)


def load(directory: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The model of a one-rank float32 engine directory."""
    config = json.loads((Path(directory) / "config.json").read_text())["config"]
    with torch.device("meta"):
        model = LanguageModel(config)
    state = {}
    with safe_open(Path(directory) / "rank0.engine", "pt") as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            if name == "conjunction.weight":  # [way, out, in]: one Linear reads the ways side by side
                state[name] = tensor.transpose(0, 1).reshape(tensor.shape[1], -1)
            elif name.startswith("layers."):
                _, layer, rest = name.split(".", 2)
                for way, one in enumerate(tensor):
                    state[f"layers.{layer}.{way}.{rest}"] = one
            elif name.startswith("embed."):
                state[f"{name.removeprefix('embed.')}.weight"] = tensor
            elif name != "head.weight":  # tied to the embedding
                state[name] = tensor[0]
    model.load_state_dict(state, assign=True)
    return model.to(dtype).eval().requires_grad_(False)
