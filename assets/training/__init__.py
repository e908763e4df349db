"""Training scripts of the embedded checkpoints."""

import os

# Threads that wait asleep: beside any other work on the machine spinning ones take many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
