"""What scripts/bench is made of. Python's standard library only."""
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
