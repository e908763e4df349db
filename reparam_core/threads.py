"""How torch's threads wait for each other: imported before torch, which reads it once."""

import os

# Asleep, not spinning: beside any other work on the machine a spinning pair takes up to a hundred times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
