"""Private memory of a process that holds SmolLM2 and one setting of it."""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.timing import Row

PROGRAM = """
import psutil, torch, transformers
from reparam_core import apply, load
from reparam_core.measure.evaluation import evaluation
from transformers import AutoModelForCausalLM
process = psutil.Process()
def private():  # written pages: clean ones of a mapped file are the file's, given back or shared when another asks
    return sum(one.private_dirty for one in process.memory_maps(grouped=True))
small = load("embedded-decoder")  # the same classes, tokenizer code and kernels: the runtime's own
with torch.inference_mode():
    small.module(**evaluation(small, "moby-dick", 1, 256).probes[0].inputs, use_cache=False)
runtime = private()
model = load("smollm2-135m-instruct")
setting = apply(model, "{recipe}")
probe = evaluation(model, "moby-dick", 1, 256).probes[0]
with torch.inference_mode():
    setting.module(**probe.inputs, use_cache=False)
print((private() - runtime) / (4 * model.parameters))
"""


def private(runs: int) -> Iterator[Row]:
    """Base and one setting in float32, in times the model's float32 bytes, the runtime's own taken off."""
    for recipe in ("svd:0.8p", "magnitude:0.5", "rtn:4g64"):
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(recipe=recipe)], capture_output=True, text=True, check=True
        )
        yield Row(f"private memory, base and {recipe}, in float32 models", float(ran.stdout.split()[-1]), "×", 2.2)
