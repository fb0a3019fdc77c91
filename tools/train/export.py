"""Writes the model directory that kraken-engine reads: bfloat16 safetensors, config.json, tokenizer.json.

    python export.py work/kraken/best.pt --tokenizer work/tokenizer.json --output ../../models/kraken-austen-2way

Tied weights are stored once, as transformer.wte.weight; config.json says tie_word_embeddings. The model card is not touched.
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

SHARED = "transformer.wte.weight"  # what lm_head.weight is tied to


def config(args: dict) -> dict:
    """config.json of a Kraken, from its checkpoint's model_args. n_head counts the heads of one way."""
    return {
        "model_type": "kraken",
        "n_layer": args["n_layer"],
        "n_way": args["n_head"] // args["n_heads_in_split"],
        "n_head": args["n_heads_in_split"],
        "n_embd": args["n_embd"],
        "n_inner": args["ffn_expansion"] * args["n_embd"],
        "n_positions": args["block_size"],
        "vocab_size": args["vocab_size"],
        "layer_norm_epsilon": 1e-5,
        "bias": args["bias"],
        "activation": "gelu_tanh",
        "norm": "layer",
        "position": "learned",
        "tie_word_embeddings": True,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    saved = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    if not saved["model_args"].get("is_split"):
        raise SystemExit(f"{args.checkpoint} holds a standard GPT; only Kraken models are exported")
    tensors = saved["model"]
    if not torch.equal(tensors.pop("lm_head.weight"), tensors[SHARED]):
        raise SystemExit(f"lm_head.weight differs from {SHARED}: this checkpoint is not tied")
    args.output.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.to(torch.bfloat16).contiguous() for name, t in tensors.items()}
    save_file(tensors, args.output / "model.safetensors", metadata={"format": "pt"})
    (args.output / "config.json").write_text(json.dumps(config(saved["model_args"]), indent=2) + "\n")
    shutil.copyfile(args.tokenizer, args.output / "tokenizer.json")
    print(f"{sum(t.numel() for t in tensors.values()):,} parameters, step {saved['iter_num']}, "
          f"held-out loss {float(saved['best_val_loss']):.4f} (bfloat16, sample of the held-out text)")
    for path in sorted(args.output.iterdir()):
        print(f"{path.name:20} {path.stat().st_size:10,} bytes")


if __name__ == "__main__":
    main()
