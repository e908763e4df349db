"""How torch's threads wait for each other: set before torch is imported, which reads it once."""

import os

# About 30 µs awake, then asleep. Waking a sleeper costs 80 µs, more than most operations of a small model take: asleep
# at once, a pass of the embedded decoder takes twice as long on a quiet machine. Awake for longer, it takes up to
# seven times as long beside one other busy process.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
