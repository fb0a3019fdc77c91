"""Trains the byte-level BPE tokenizer on the training chapters and encodes both splits with it.

    python bpe.py --work work    ->  work/tokenizer.json, work/train.bin, work/val.bin (uint16 token ids)

A chapter is encoded as <|endoftext|> and then its text: the token starts a text, as in GPT-2's training data.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(chapters: list[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE of `vocab_size` entries: <|endoftext|> has id 0, then the 256 bytes, then the merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(chapters, trainer)
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--vocab-size", type=int, default=4096)
    args = parser.parse_args()
    corpus = json.loads((args.work / "corpus.json").read_text())
    tokenizer = train_tokenizer(corpus["train"], args.vocab_size)
    tokenizer.save(str(args.work / "tokenizer.json"))
    end = tokenizer.token_to_id(END_OF_TEXT)
    for split in ("train", "val"):
        ids = np.concatenate([np.array([end, *e.ids], np.uint16) for e in tokenizer.encode_batch(corpus[split])])
        ids.tofile(args.work / f"{split}.bin")
        text_bytes = sum(len(c.encode()) for c in corpus[split])
        print(f"{split}: {len(ids):,} tokens, {text_bytes / len(ids):.2f} bytes each, vocabulary {tokenizer.get_vocab_size()}")
    if any(tokenizer.decode(tokenizer.encode(c).ids) != c for c in corpus["val"]):
        raise SystemExit("the tokenizer does not reproduce the held-out text")


if __name__ == "__main__":
    main()
