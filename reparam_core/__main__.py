"""`python -m reparam_core`."""

from reparam_core.cli import main

main()
