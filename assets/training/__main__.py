"""Train every embedded checkpoint again, each within an hour on two cores: python -m assets.training [NAME ...]."""

import argparse
import runpy
import sys
from pathlib import Path

# The order matters: the encoder begins as the pretrained one.
SCRIPTS = ("seq2seq", "decoder", "pretraining", "encoder", "minilm_head")


def main() -> None:
    """Run the scripts one after the other; an unfinished one resumes from its checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}; all of them if none is named"
    )
    parser.add_argument("--checkpoints", type=Path, default=Path("test-results/training"))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(SCRIPTS))
    if unknown:
        parser.error(f"there is no script '{unknown[0]}'; choose of {', '.join(SCRIPTS)}")
    for name in (one for one in SCRIPTS if one in (arguments.names or SCRIPTS)):
        print(f"== {name}", flush=True)
        sys.argv = [name, "--checkpoint", str(arguments.checkpoints / f"{name}.pt")]
        runpy.run_module(f"assets.training.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
