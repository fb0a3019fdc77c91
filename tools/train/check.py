"""Checks the training model against the float64 reference, and writes the facts that the engine's tests check against.

    python check.py ckpt.pt
        the checkpoint's Kraken here, in float64, against the reference: prints the largest relative error, fails above 1e-12
    python check.py ../../models/kraken-austen-2way --held-out work/val.bin
        writes expected.json into that model directory: 64 held-out tokens, their perplexity and log-probabilities, from the
        reference in float64 on the stored (bfloat16) weights
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

import kraken_reference as reference
from model import build

FACT_TOKENS = 64


def log_probabilities(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """logits [T,V], tokens [T] -> [T-1]: natural log of the probability of each token given those before it."""
    top = logits.max(-1, keepdims=True)
    log_probs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return log_probs[np.arange(len(tokens) - 1), tokens[1:]]


def check_checkpoint(path: Path) -> None:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    args = saved["model_args"]
    model = build(args).double().eval()
    model.load_state_dict(saved["model"])
    tokens = np.random.default_rng(1).integers(args["vocab_size"], size=args["block_size"])
    weights = {name: t.double().numpy() for name, t in saved["model"].items()}
    if args.get("is_split"):
        expected = reference.kraken(weights, tokens, n_layer=args["n_layer"], ways=args["n_head"] // args["n_heads_in_split"],
                                    heads_per_way=args["n_heads_in_split"])
    else:
        expected = reference.gpt(weights, tokens, n_layer=args["n_layer"], heads=args["n_head"])
    with torch.no_grad():
        got = model(torch.from_numpy(tokens)[None])[0].numpy()
    largest = np.abs(got - expected).max() / np.abs(expected).max()
    norm = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    print(f"{path}: {len(tokens)} positions, largest error / largest logit {largest:.1e}, norm error {norm:.1e} (allowed 1e-12)")
    if not norm <= 1e-12:
        raise SystemExit("the model does not agree with the reference")


def write_facts(folder: Path, held_out: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    weights = {name: t.double().numpy() for name, t in load_file(folder / "model.safetensors").items()}
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = np.fromfile(held_out, np.uint16)
    # From the start of a held-out novel chapter (the longest): the text behind its <|endoftext|>.
    starts = np.flatnonzero(ids == tokenizer.token_to_id("<|endoftext|>"))
    start = starts[np.argmax(np.diff(np.append(starts, len(ids))))] + 1
    tokens = ids[start:start + FACT_TOKENS].astype(np.int64)
    logits = reference.kraken(weights, tokens, n_layer=config["n_layer"], ways=config["n_way"], heads_per_way=config["n_head"])
    log_probs = log_probabilities(logits, tokens)
    facts = {
        "prompt": tokenizer.decode(tokens.tolist()),
        "tokens": tokens.tolist(),
        "perplexity": float(np.exp(-log_probs.mean())),
        "logprobs": [None, *log_probs.tolist()],
    }
    if tokenizer.encode(facts["prompt"]).ids != facts["tokens"]:
        raise SystemExit("the facts' prompt does not encode to the facts' tokens")
    (folder / "expected.json").write_text(json.dumps(facts) + "\n")
    print(f"{folder / 'expected.json'}: perplexity {facts['perplexity']:.6f} of {facts['prompt'][:60]!r}…")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="a checkpoint, or an exported model directory")
    parser.add_argument("--held-out", type=Path, help="val.bin; needed for a model directory")
    args = parser.parse_args()
    if args.target.is_dir():
        if not args.held_out:
            parser.error("a model directory needs --held-out")
        write_facts(args.target, args.held_out)
    else:
        check_checkpoint(args.target)


if __name__ == "__main__":
    main()
