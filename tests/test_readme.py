"""The README's own example runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]


def test_the_library_example_of_the_readme_runs(tmp_path: Path) -> None:
    """`load`, `apply`, `measure` on a small random model, as the README writes it."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                      num_attention_heads=4, max_position_embeddings=128)  # fmt: skip
    transformers.LlamaForCausalLM(config).half().save_pretrained(tmp_path / "model")
    ids = tmp_path / "ids.npy"
    np.save(ids, torch.randint(0, 64, (4, 128)).numpy())
    example = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    code = example.replace('"smollm2-135m-instruct"', repr(str(tmp_path / "model")))
    code = code.replace("measure(setting)", f"measure(setting, text={str(ids)!r}, length=128)")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert "perplexity" in ran.stdout
