"""Builds the training text: public-domain English prose taken from Debian packages.

The packages are fetched with `apt-get download` and unpacked with `dpkg -x`, so neither root nor R is needed. Every text
becomes a list of chapters, one paragraph (or Bible verse) per line. Whole chapters are held out, every 20th of the corpus,
so that the validation loss is measured on text whose neighbouring sentences were not trained on.

    python corpus.py --work work        ->  work/corpus.json  {"train": [chapter], "val": [chapter], "sources": {name: bytes}}
                                            work/held-out.txt  what `kraken eval perplexity` reads: <|endoftext|>, chapter, …
"""
import argparse
import json
import os
import re
import subprocess
import zlib
from pathlib import Path

PACKAGES = ["r-cran-janeaustenr", "bible-kjv", "bible-kjv-text", "r-cran-tokenizers", "golang-github-pierrec-lz4-dev"]
AUSTEN = ["Emma", "Mansfield Park", "Northanger Abbey", "Persuasion", "Pride and Prejudice", "Sense and Sensibility"]
HOLD_OUT_EVERY = 20
MIN_CHAPTER = 400  # characters; anything shorter is a title page or a table of contents


def fetch(work: Path) -> Path:
    """Downloads and unpacks PACKAGES below work/packages; what is already unpacked is kept."""
    root = work.resolve() / "packages"
    root.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        target = root / name
        if target.exists():
            continue
        # As root, apt warns that its own user cannot write here, and then downloads as root: harmless.
        subprocess.run(["apt-get", "download", name], cwd=root, check=True)
        (deb,) = root.glob(f"{name}_*.deb")
        subprocess.run(["dpkg", "-x", deb, target], check=True)
        deb.unlink()
    return root


def r_string_vectors(path: Path) -> list[list[str]]:
    """Character vectors of an R lazy-load database (Rdata.rdb), in file order.

    Each entry is a 4-byte big-endian length and a zlib stream holding R's XDR serialisation. Only what the two packages
    store is understood: a character vector (type 16), possibly with attributes behind it, which are ignored.
    """
    data, vectors = path.read_bytes(), []
    while data:
        stream = zlib.decompressobj()
        raw, data = stream.decompress(data[4:]), stream.unused_data
        at = 14  # "X\n", three version words
        if raw[5] == 3:  # serialisation version 3 also names the native encoding
            at += 4 + int.from_bytes(raw[at:at + 4], "big")
        kind, count, at = raw[at + 3], int.from_bytes(raw[at + 4:at + 8], "big"), at + 8
        if kind != 16:
            raise ValueError(f"{path}: expected a character vector (16), got R type {kind}")
        strings = []
        for _ in range(count):
            size = int.from_bytes(raw[at + 4:at + 8], "big")
            strings.append(raw[at + 8:at + 8 + size].decode("utf-8"))
            at += 8 + size
        vectors.append(strings)
    return vectors


def between(text: str, start: str, end: str) -> str:
    """The text after the first match of `start` and before the last match of `end` (regular expressions, multi-line)."""
    text = text[re.search(start, text, re.M).end():]
    ends = list(re.finditer(end, text, re.M))
    return text[:ends[-1].start()] if ends else text


def paragraphs(text: str) -> str:
    """Undoes hard line wrapping: one paragraph per line, emphasis marks removed, quotes and dashes in ASCII."""
    text = text.translate(str.maketrans({"_": "", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--"}))
    lines = (re.sub(r"\s+", " ", block).strip() for block in re.split(r"\n\s*\n", text))
    # Headings and rules carry no sentence: drop lines without lower-case letters.
    return "\n".join(line for line in lines if re.search(r"[a-z]", line))


def chapters(text: str, heading: str) -> list[str]:
    return [paragraphs(part) for part in re.split(heading, text.replace("\r", ""), flags=re.M)]


def king_james(packages: Path) -> list[str]:
    """The 1,189 chapters, one verse per line, without numbers. The text is stored compressed: the package's reader unpacks it."""
    reader, data = packages / "bible-kjv/usr/bin/bible", packages / "bible-kjv-text/usr/lib"
    text = subprocess.run([reader, "-p", data, "-l100000", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL,
                          capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout.decode("latin-1")
    parts = re.split(r"^\S.* \d+$", text, flags=re.M)[1:]
    return ["\n".join(re.findall(r"^ +\d+ (.*\S)", part, re.M)) for part in parts]


def sources(packages: Path) -> dict[str, list[str]]:
    """{title: [chapter]}. Every text was published before 1930; licences are named in the model card."""
    r = "usr/lib/R/site-library/{0}/data/Rdata.rdb".format
    go = packages / "golang-github-pierrec-lz4-dev/usr/share/gocode/src/github.com/pierrec/lz4/testdata"
    books = {}
    for title, lines in zip(AUSTEN, r_string_vectors(packages / "r-cran-janeaustenr" / r("janeaustenr"))):
        books[title] = chapters("\n".join(lines), r"^ *(?:CHAPTER|Chapter) [IVXLC\d]+\.? *$")
    books["King James Bible"] = king_james(packages)
    moby = r_string_vectors(packages / "r-cran-tokenizers" / r("tokenizers"))[0][0].replace("\r", "")
    books["Moby-Dick"] = chapters(between(moby, r"^CHAPTER 1\W.*$", r"^End of (the )?Project Gutenberg|^\*\*\* ?END"), r"^(?:CHAPTER \d+|EPILOGUE)\b.*$")
    sherlock = (go / "pg1661.txt").read_text("utf-8-sig", errors="replace").replace("\r", "")
    books["The Adventures of Sherlock Holmes"] = chapters(
        between(sherlock, r"^ADVENTURE I\..*$", r"^End of (the )?Project Gutenberg|^\*\*\* ?END"), r"^(?:ADVENTURE )?[IVX]+\. *[A-Z ].*$")
    sawyer = (go / "Mark.Twain-Tom.Sawyer.txt").read_text("latin-1").replace("\r", "")
    books["The Adventures of Tom Sawyer"] = chapters(between(sawyer, r"^CHAPTER I$", r"\Z"), r"^CHAPTER [IVXL]+$")
    return {title: [c for c in parts if len(c) >= MIN_CHAPTER] for title, parts in books.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work"))
    work = parser.parse_args().work
    books = sources(fetch(work))
    every = [c for parts in books.values() for c in parts]
    corpus = {
        "train": [c for i, c in enumerate(every) if i % HOLD_OUT_EVERY != HOLD_OUT_EVERY - 1],
        "val": every[HOLD_OUT_EVERY - 1::HOLD_OUT_EVERY],
        "sources": {title: sum(len(c.encode()) for c in parts) for title, parts in books.items()},
    }
    (work / "corpus.json").write_text(json.dumps(corpus, ensure_ascii=False))
    (work / "held-out.txt").write_text("".join(f"<|endoftext|>{chapter}" for chapter in corpus["val"]))
    for title, parts in books.items():
        print(f"{title:36} {len(parts):5} chapters {corpus['sources'][title]:9,} bytes")
    for split in ("train", "val"):
        print(f"{split:36} {len(corpus[split]):5} chapters {sum(len(c.encode()) for c in corpus[split]):9,} bytes")


if __name__ == "__main__":
    main()
