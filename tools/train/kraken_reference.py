"""Reference forward passes, in float64 NumPy, for the architectures the engine serves.

They define the numerics that every backend is tested against (lib/reference.ts is their twin in TypeScript):
  kraken    N-way Kraken transformer (arXiv 2408.07802; checkpoint layout of rohan-bp/kraken)
  gpt       sequential pre-norm GPT-2 block (checkpoint layout of nanoGPT / HF GPT-2 names below)
  parallel  parallel attention + FFN block (GPT-J / PaLM form): x + attn(ln(x)) + mlp(ln(x))
  ladder    Ladder-Residual on a GPT-2 block (arXiv 2501.06589): each module reads the residual
            stream without the output of the module right before it

weights: dict name -> ndarray, names as in a PyTorch state_dict. tokens: int array [T].
Every function returns logits [T, vocab_size] in float64.
"""
import numpy as np


def layer_norm(x, w, b, eps=1e-5):
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps) * w
    return y if b is None else y + b


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x ** 3)))


class Weights:
    """Looks names up; a missing '.bias' is None (models trained with bias=False)."""

    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def at(self, name):
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def get(self, name):
        t = self.tensors.get(self.prefix + name)
        return None if t is None else np.asarray(t, dtype=np.float64)

    def linear(self, name, x):
        y = x @ self.get(name + ".weight").T
        b = self.get(name + ".bias")
        return y if b is None else y + b

    def norm(self, name, x):
        return layer_norm(x, self.get(name + ".weight"), self.get(name + ".bias"))


def attention(w, x, heads):
    """Causal self-attention. x [T, d]; c_attn packs q, k, v along its output dimension."""
    t, d = x.shape
    q, k, v = np.split(w.linear("c_attn", x), 3, axis=-1)
    hd = d // heads
    q, k, v = (m.reshape(t, heads, hd).transpose(1, 0, 2) for m in (q, k, v))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(hd)
    scores = np.where(np.tril(np.ones((t, t), bool)), scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    probs = scores / scores.sum(-1, keepdims=True)
    y = (probs @ v).transpose(1, 0, 2).reshape(t, d)
    return w.linear("c_proj", y)


def mlp(w, x):
    return w.linear("c_proj", gelu_tanh(w.linear("c_fc", x)))


def embed(w, tokens):
    tokens = np.asarray(tokens)
    return w.get("transformer.wte.weight")[tokens] + w.get("transformer.wpe.weight")[: len(tokens)]


def head(w, x):
    return w.at("transformer").norm("ln_f", x) @ w.get("lm_head.weight").T


def kraken(weights, tokens, *, n_layer, ways, heads_per_way):
    w = Weights(weights)
    x0 = embed(w, tokens)
    streams = [x0] * ways
    for layer in range(n_layer):
        # What the collective carries at this layer: the sum of all ways' inputs. Layer 0 has none.
        total = None if layer == 0 else sum(streams)
        out = []
        for way in range(ways):
            b = w.at(f"transformer.h.{way}.{layer}")
            a = streams[way] + attention(b.at("attn"), b.norm("ln_1", streams[way]), heads_per_way)
            z = a if total is None else a + (total - streams[way])
            out.append(a + mlp(b.at("mlp"), b.norm("ln_2", z)))
        streams = out
    return head(w, w.at("transformer").linear("conjunction", np.concatenate(streams, -1)))


def gpt(weights, tokens, *, n_layer, heads):
    w = Weights(weights)
    x = embed(w, tokens)
    for layer in range(n_layer):
        b = w.at(f"transformer.h.{layer}")
        x = x + attention(b.at("attn"), b.norm("ln_1", x), heads)
        x = x + mlp(b.at("mlp"), b.norm("ln_2", x))
    return head(w, x)


def parallel(weights, tokens, *, n_layer, heads):
    w = Weights(weights)
    x = embed(w, tokens)
    for layer in range(n_layer):
        b = w.at(f"transformer.h.{layer}")
        n = b.norm("ln_1", x)
        x = x + attention(b.at("attn"), n, heads) + mlp(b.at("mlp"), n)
    return head(w, x)


def ladder(weights, tokens, *, n_layer, heads):
    """x is the residual stream; `late` is the previous module's output, still being reduced."""
    w = Weights(weights)
    x, late = embed(w, tokens), 0.0
    for layer in range(n_layer):
        b = w.at(f"transformer.h.{layer}")
        for module in ("attn", "mlp"):
            if module == "attn":
                out = attention(b.at("attn"), b.norm("ln_1", x), heads)
            else:
                out = mlp(b.at("mlp"), b.norm("ln_2", x))
            x, late = x + late, out
    return head(w, x + late)
