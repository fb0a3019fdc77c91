"""Continues a prompt with a checkpoint, to judge a run by eye. The engine is the place for fast generation: this recomputes
the whole context for every token.

    python sample.py work/kraken/best.pt --tokenizer work/tokenizer.json --prompt "In the beginning"
"""
import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer

from model import build


@torch.no_grad()
def generate(model, ids: list[int], count: int, temperature: float, top_p: float, rng: torch.Generator) -> list[int]:
    """`ids` and `count` more, each drawn from the smallest set of tokens that holds probability `top_p`."""
    for _ in range(count):
        logits = model(torch.tensor([ids[-model.args.block_size:]]))[0, -1].float()
        probs, order = torch.softmax(logits / temperature, -1).sort(descending=True)
        probs[probs.cumsum(-1) - probs > top_p] = 0  # the first token over the border stays
        ids = [*ids, order[torch.multinomial(probs, 1, generator=rng)].item()]
    return ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--prompt", default="In the beginning")
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    saved = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    model = build(saved["model_args"]).eval()
    model.load_state_dict(saved["model"])
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    rng = torch.Generator().manual_seed(args.seed)
    ids = generate(model, tokenizer.encode(args.prompt).ids, args.tokens, args.temperature, args.top_p, rng)
    print(tokenizer.decode(ids))


if __name__ == "__main__":
    main()
