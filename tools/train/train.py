"""Trains a Kraken and a standard GPT of the same parameter count, side by side on the same batches.

Both see the same tokens in the same order with the same learning rate, so after any number of steps their losses compare.
They train at the same time, one core each: a team of threads per model would wait at every operator for the core that other
work on the machine has slowed down.
Each leaves work/<model>/ckpt.pt (the latest, resumable) and best.pt (lowest held-out loss), in the layout of the Kraken
authors' and nanoGPT's trainers.

    python train.py --work work [--steps 2600] [--minutes 60] [--resume]
"""
import argparse
import json
import math
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from model import GptArgs, KrakenArgs, build, parameter_count
from muon import MuonWithAdamW

MODELS = {"kraken": KrakenArgs, "gpt": GptArgs}


class Windows:
    """Batches of non-overlapping windows, shuffled anew and shifted each epoch. `at(step)` depends on nothing but its arguments."""

    def __init__(self, path: Path, block: int, batch: int, seed: int):
        self.ids, self.block, self.batch, self.seed = np.fromfile(path, np.uint16), block, batch, seed
        self.count = (len(self.ids) - 1) // block - 1  # one window less: the epoch's shift may use it up
        if self.count < batch:
            raise SystemExit(f"{path} holds {self.count} windows of {block} tokens: too few for a batch of {batch}")

    def window(self, start: int):
        return self.ids[start:start + self.block + 1]

    def at(self, step: int) -> torch.Tensor:
        """Batch number `step`, [batch, block + 1] int64: the inputs and, one further, the targets."""
        epoch, index = divmod(step, self.count // self.batch)
        rng = np.random.default_rng([self.seed, epoch])
        shift, order = rng.integers(self.block), rng.permutation(self.count)
        chosen = order[index * self.batch:(index + 1) * self.batch]
        return torch.from_numpy(np.stack([self.window(shift + i * self.block) for i in chosen]).astype(np.int64))

    def in_order(self, limit: int | None = None):
        """Every window once, unshuffled, in batches; `limit` takes about that many, spread evenly."""
        starts = np.arange(self.count + 1) * self.block
        for part in np.array_split(starts[::max(1, len(starts) // limit) if limit else 1], max(1, (limit or len(starts)) // self.batch)):
            yield torch.from_numpy(np.stack([self.window(s) for s in part]).astype(np.int64))


def autocast(dtype: str):
    return torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")


@torch.no_grad()
def held_out_loss(model, val: Windows, dtype: str, limit: int | None = None) -> float:
    """Mean nats per token over held-out windows of `block` tokens each."""
    model.eval()
    total = count = 0
    for rows in val.in_order(limit):
        with autocast(dtype):
            total += model(rows[:, :-1], rows[:, 1:]).item() * len(rows)
        count += len(rows)
    model.train()
    return total / count


def learning_rate(progress: float, step: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then a cosine from `peak` to a twentieth of it as `progress` goes from 0 to 1."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Run:
    """One model in training: its optimizer, its checkpoints and the best held-out loss so far."""

    def __init__(self, name: str, args):
        self.name, self.folder = name, args.work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.best, self.step, self.seconds = float("inf"), 0, 0.0
        saved = None
        if args.resume:
            saved = torch.load(self.folder / "ckpt.pt", map_location="cpu", weights_only=True)
            self.model_args = saved["model_args"]
        else:
            sizes = {"dropout": args.dropout, "block_size": args.block, "vocab_size": args.vocab_size}
            self.model_args = {**asdict(MODELS[name]()), **sizes}
        torch.manual_seed(args.seed)
        self.model = build(self.model_args)
        self.optimizer = MuonWithAdamW(self.model, args.weight_decay)
        if saved:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.best, self.step, self.seconds = float(saved["best_val_loss"]), saved["iter_num"], saved["config"]["seconds"]

    def train_step(self, rows: torch.Tensor, lr: float, args) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with autocast(args.dtype):
            loss = self.model(rows[:, :-1], rows[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def save(self, loss: float, step: int, seconds: float, args):
        better, self.best = loss < self.best, min(loss, self.best)
        config = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "model_args": self.model_args,
                    "iter_num": step, "best_val_loss": torch.tensor(self.best), "config": {**config, "seconds": seconds}},
                   self.folder / "ckpt.pt.part")
        (self.folder / "ckpt.pt.part").replace(self.folder / "ckpt.pt")
        if better:
            shutil.copyfile(self.folder / "ckpt.pt", self.folder / "best.pt")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--only", choices=list(MODELS), help="train this model alone")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--minutes", type=float, default=math.inf,
                        help="also stop after this many minutes; the learning rate then decays by the clock, so it still ends low")
    parser.add_argument("--resume", action="store_true", help="go on from work/<model>/ckpt.pt")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=40, help="steps")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="of the matrix products; weights stay float32")
    parser.add_argument("--threads", type=int, default=2, help="of all models together")
    parser.add_argument("--evaluate-every", type=int, default=200, help="steps")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = parse_args()
    train = Windows(args.work / "train.bin", args.block, args.batch, args.seed)
    val = Windows(args.work / "val.bin", args.block, args.batch, args.seed)
    runs = [Run(name, args) for name in ([args.only] if args.only else MODELS)]
    first = runs[0].step
    if any(run.step != first for run in runs):
        raise SystemExit(f"cannot resume: the checkpoints are at steps {[run.step for run in runs]}")
    torch.set_num_threads(max(1, args.threads // len(runs)))
    pool = ThreadPoolExecutor(len(runs))
    for run in runs:
        print(f"{run.name}: {parameter_count(run.model):,} parameters, {run.model_args}", flush=True)

    def sampled_loss(run: Run) -> float:
        return held_out_loss(run.model, val, args.dtype, 64)

    began = time.monotonic() - runs[0].seconds
    step, progress, mean = first, 0.0, [0.0] * len(runs)
    while step < args.steps and progress < 1.0:
        seconds = time.monotonic() - began
        progress = max(step / args.steps, seconds / 60 / args.minutes)
        lr = learning_rate(progress, step, args.lr, args.warmup)
        rows = train.at(step)
        losses = list(pool.map(lambda run: run.train_step(rows, lr, args), runs))
        mean = [loss if step == first else 0.95 * m + 0.05 * loss for m, loss in zip(mean, losses)]
        step += 1
        if step % 20 == 0:
            shown = " ".join(f"{run.name} {m:.4f}" for run, m in zip(runs, mean))
            print(f"step {step} {progress:.1%} lr {lr:.2e} train {shown} | {seconds / 60:.1f} min", flush=True)
        if step % args.evaluate_every == 0:
            for run, loss in zip(runs, pool.map(sampled_loss, runs)):
                run.save(loss, step, time.monotonic() - began, args)
                print(f"step {step} held-out sample {run.name} {loss:.4f}", flush=True)
    for run, loss in zip(runs, pool.map(sampled_loss, runs)):
        run.save(loss, step, time.monotonic() - began, args)
    report = {"steps": step, "tokens": step * args.batch * args.block, "minutes": round((time.monotonic() - began) / 60, 1)}
    for run in runs:
        best = torch.load(run.folder / "best.pt", map_location="cpu", weights_only=True)
        run.model.load_state_dict(best["model"])
        report[run.name] = {"parameters": parameter_count(run.model), "best_step": best["iter_num"]}
    held_out = pool.map(lambda run: held_out_loss(run.model, val, "float32"), runs)
    for run, train_loss, loss in zip(runs, mean, held_out):
        report[run.name] |= {"train_loss": round(train_loss, 4), "held_out_loss": round(loss, 4)}
    (args.work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
