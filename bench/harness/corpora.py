"""The data that is backed up, made once for each size and kept for the next run."""
import shutil

from . import BENCH
from .measuring import must, say

SIZES = {
    "small": {"usr": {"usr": 500_000_000}, "many": {"many": 40_000}, "mixed": {"usr": 93_000_000, "many": 4_000}},
    "full": {"usr": {"usr": 5_000_000_000}, "many": {"many": 400_000}, "mixed": {"usr": 930_000_000, "many": 40_000}},
}
OPTIONS = {"usr": "--size", "many": "--files"}


def make_corpus(name, size, bench):
    """The folder of a corpus; `mixed` has a part of each of the others in a folder of its own."""
    folder = BENCH / "corpora" / f"{name}-{size}"
    if not folder.exists():
        say(f"making the corpus {name}, {size}")
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        for part, amount in SIZES[size][name].items():
            place = unfinished / part if name == "mixed" else unfinished
            place.parent.mkdir(exist_ok=True)
            must([bench, "corpus", part, place, OPTIONS[part], amount])
        unfinished.rename(folder)
    return folder
