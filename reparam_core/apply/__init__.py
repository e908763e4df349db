"""recipe + model → Setting: a structural clone that shares with the base whatever the recipe leaves alone."""

from reparam_core.apply.applying import Applying, apply, applying, prepare
from reparam_core.apply.caching import cache_bytes, cached_roles
from reparam_core.apply.checking import check, goes_by_blocks, reading_of
from reparam_core.apply.returning import CancelledError, Progress, Returning, finished
from reparam_core.apply.rewriting import suited
from reparam_core.apply.setting import Setting, base
from reparam_core.apply.steps import units
from reparam_core.apply.threads import single_threaded

__all__ = ["Applying", "CancelledError", "Progress", "Returning", "Setting", "apply", "applying", "base", "cache_bytes", "cached_roles",
           "check", "finished", "goes_by_blocks", "prepare", "reading_of", "single_threaded", "suited", "units"]  # fmt: skip
