"""Kraken (arXiv 2408.07802) and the standard GPT it is compared with, for training.

State-dict names, `model_args` and the order of the sums follow the checkpoints of the Kraken authors' and nanoGPT's training
code, so what is saved here loads wherever those do. B sequences, T tokens, d = n_embd, V = vocab_size.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class KrakenArgs:
    """`n_head` counts the heads of all ways together, as the authors do: ways = n_head / n_heads_in_split."""
    n_layer: int = 6
    n_head: int = 6
    n_embd: int = 192
    block_size: int = 256
    bias: bool = False
    vocab_size: int = 4096
    dropout: float = 0.0
    n_heads_in_split: int = 3
    is_split: bool = True
    ffn_expansion: int = 2


@dataclass
class GptArgs:
    n_layer: int = 6
    n_head: int = 4
    n_embd: int = 220
    block_size: int = 256
    bias: bool = False
    vocab_size: int = 4096
    dropout: float = 0.0


class LayerNorm(nn.Module):
    """nn.LayerNorm whose bias can be left out."""

    def __init__(self, d: int, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    """Causal self-attention of one way, [B,T,d] -> [B,T,d]; c_attn packs q, k, v along its output."""

    def __init__(self, d: int, heads: int, bias: bool, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn = nn.Linear(d, 3 * d, bias=bias)
        self.c_proj = nn.Linear(d, d, bias=bias)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (m.view(b, t, self.heads, d // self.heads).transpose(1, 2) for m in self.c_attn(x).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.dropout(self.c_proj(y.transpose(1, 2).reshape(b, t, d)), self.dropout, self.training)


class Mlp(nn.Module):
    """[B,T,d] -> [B,T,d] through `expansion`·d columns of tanh-GELU."""

    def __init__(self, d: int, expansion: int, bias: bool, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.c_fc = nn.Linear(d, expansion * d, bias=bias)
        self.c_proj = nn.Linear(expansion * d, d, bias=bias)

    def forward(self, x):
        return F.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")), self.dropout, self.training)


class Block(nn.Module):
    """One way's part of one layer."""

    def __init__(self, d: int, heads: int, expansion: int, bias: bool, dropout: float):
        super().__init__()
        self.ln_1 = LayerNorm(d, bias)
        self.attn = Attention(d, heads, bias, dropout)
        self.ln_2 = LayerNorm(d, bias)
        self.mlp = Mlp(d, expansion, bias, dropout)

    def forward(self, x, others=None):
        """`others` [B,T,d]: what the other ways' streams held before this layer. Only the MLP sees it, through its norm."""
        a = x + self.attn(self.ln_1(x))
        return a + self.mlp(self.ln_2(a if others is None else a + others))


class LanguageModel(nn.Module):
    """Embeddings, final norm and the tied head; `self.streams` is what the architectures differ in."""

    def __init__(self, args, layers: nn.ModuleList, residuals: int, conjunction: nn.Linear | None = None):
        super().__init__()
        self.args = args
        parts = {"wte": nn.Embedding(args.vocab_size, args.n_embd), "wpe": nn.Embedding(args.block_size, args.n_embd), "h": layers}
        if conjunction is not None:
            parts["conjunction"] = conjunction
        self.transformer = nn.ModuleDict({**parts, "ln_f": LayerNorm(args.n_embd, args.bias)})
        self.lm_head = nn.Linear(args.n_embd, args.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.dim() == 2:
                # Outputs that are added to a residual stream start smaller, the deeper the model (paper §4).
                nn.init.normal_(p, std=0.02 / math.sqrt(residuals) if name.endswith("c_proj.weight") else 0.02)

    def forward(self, ids, targets=None):
        """ids [B,T] -> logits [B,T,V], or with targets [B,T] the mean cross-entropy in nats per token."""
        x = self.transformer.wte(ids) + self.transformer.wpe.weight[:ids.shape[1]]
        x = self.transformer.ln_f(self.streams(F.dropout(x, self.args.dropout, self.training)))
        logits = self.lm_head(x)
        return logits if targets is None else F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


class Kraken(LanguageModel):
    def __init__(self, args: KrakenArgs):
        ways = args.n_head // args.n_heads_in_split
        layers = nn.ModuleList(
            nn.ModuleList(Block(args.n_embd, args.n_heads_in_split, args.ffn_expansion, args.bias, args.dropout)
                          for _ in range(args.n_layer)) for _ in range(ways))
        super().__init__(args, layers, args.n_layer * ways, nn.Linear(ways * args.n_embd, args.n_embd, bias=args.bias))

    def streams(self, x):
        """[B,T,d] -> [B,T,d]. The sum over ways is the layer's one all-reduce; no way's attention waits for it."""
        xs = [x] * len(self.transformer.h)
        for layer, blocks in enumerate(zip(*self.transformer.h)):
            if layer == 0:  # all streams are still equal
                xs = [block(x) for block in blocks]
            else:
                total = sum(xs)
                xs = [block(x, total - x) for block, x in zip(blocks, xs)]
        return self.transformer.conjunction(torch.cat(xs, dim=-1))


class Gpt(LanguageModel):
    def __init__(self, args: GptArgs):
        layers = nn.ModuleList(Block(args.n_embd, args.n_head, 4, args.bias, args.dropout) for _ in range(args.n_layer))
        super().__init__(args, layers, 2 * args.n_layer)

    def streams(self, x):
        for block in self.transformer.h:
            x = block(x)
        return x


def build(model_args: dict) -> LanguageModel:
    """The model that a checkpoint's `model_args` describe."""
    return Kraken(KrakenArgs(**model_args)) if model_args.get("is_split") else Gpt(GptArgs(**model_args))


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
