"""The packed folder: a model in exactly the bytes that its forms need, foretold before they are written."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.models.model import Model
from reparam_core.parametrizations import Parametrization, unpack
from reparam_core.parametrizations.base import Layout, element_size

WEIGHTS, SPECS = "model.safetensors", "parametrizations.json"
MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[
    :8
]  # a folder may be shared: elsewhere other processes live
ASIDE = re.compile(rf"\.compress-{MACHINE}-(\d+)-[0-9a-f]{{8}}")  # what is not written to the end, and by which process
# The order in which safetensors lays tensors out: widest first, then by name. Its names for them fill the header.
NAMES = {torch.int64: "I64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16", torch.float16: "F16",
         torch.float8_e8m0fnu: "F8_E8M0", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}  # fmt: skip


def packed_bytes(model: Model, forms: Mapping[str, Parametrization], storage: torch.dtype) -> int:
    """Size of the file that `write_packed` writes, header included, without writing it."""
    layout = _layout(model, forms, storage)
    order = sorted(layout, key=lambda name: (list(NAMES).index(layout[name][0]), name))
    header, offset = {}, 0
    for name in order:
        dtype, shape = layout[name]
        end = offset + element_size(dtype) * prod(shape)
        header[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(text) // 8) * 8 + offset


def write_packed(
    directory: Path, model: Model, forms: Mapping[str, Parametrization], storage: torch.dtype, force: bool = False
) -> Path:
    """Write the model with these forms; the folder appears whole or not at all. Returns the weight file.

    Raises ReparamError where the folder exists (without `force`), where it holds what no `write_packed` wrote, or
    where the disk refuses.
    """
    refuse_place(directory, force)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(directory.parent)
        aside = directory.parent / f".compress-{MACHINE}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        aside.mkdir()  # with the mode of every new folder: a temporary one is its maker's alone
        try:
            _write(aside, model, forms, storage)
            _replace(directory, aside)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # a full disk is either, by which file it meets
        raise _unwritable(directory, error) from error
    return directory / WEIGHTS


def _unwritable(directory: Path, error: Exception) -> ReparamError:
    return ReparamError(
        f"{directory} cannot be written: {getattr(error, 'strerror', None) or error}.",
        "Free some space, or choose another place.",
    )


def _clear_leftovers(parent: Path) -> None:
    """Delete what runs that were killed left half-written here; those of living processes stay."""
    for one in parent.glob(".compress-*"):
        found = ASIDE.fullmatch(one.name)
        if found is None or psutil.pid_exists(int(found[1])) or one.is_symlink() or not one.is_dir():
            continue
        with suppress(OSError):  # it is in nobody's way
            for file in one.iterdir():
                file.unlink()
            one.rmdir()


def refuse_place(directory: Path, force: bool) -> None:
    """Raises ReparamError for a place that may not be written: `force` replaces only a folder that compress wrote."""
    try:
        directory.lstat()
    except FileNotFoundError:
        _refuse_parent(directory)
        return
    except OSError as error:  # a file is in its path, or its name is too long
        raise _unwritable(directory, error) from None
    if not directory.is_dir():
        raise ReparamError(f"{directory} exists and is no folder.", "Choose a place where nothing is.")
    if not force:
        raise ReparamError(f"The folder {directory} exists.", "Choose another, or overwrite it with --force.")
    plain = directory.is_dir() and not directory.is_symlink()
    if not plain or not all((directory / name).is_file() for name in (WEIGHTS, SPECS)):
        raise ReparamError(f"{directory} is no folder that compress wrote: it is not overwritten.",
                           "Choose a place where nothing is.")  # fmt: skip


def _refuse_parent(directory: Path) -> None:
    """Raises ReparamError where the folder that it comes to lie in may not be written: told before any work."""
    there = next(one for one in directory.absolute().parents if one.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise ReparamError(f"{directory} cannot be written: no permission in {there}.", "Choose another place.")


def _replace(directory: Path, aside: Path) -> None:
    """Put the new folder in the old one's place, and delete of the old one only files that the new one has too."""
    if not directory.exists():
        os.replace(aside, directory)
        return
    new = {one.name for one in aside.iterdir()}
    foreign = sorted(one.name for one in directory.iterdir() if one.name not in new or not one.is_file())
    if foreign:
        raise ReparamError(f"{directory} also holds {foreign[0]}, which would be lost.",
                           "Move it, or choose another place.")  # fmt: skip
    old = aside.with_name(aside.name + ".old")
    os.replace(directory, old)
    os.replace(aside, directory)
    for name in new:
        (old / name).unlink(missing_ok=True)
    old.rmdir()


def read_packed(directory: Path) -> tuple[dict[str, Parametrization], dict[str, Tensor]]:
    """The forms by role and the rest by name of a folder that `write_packed` wrote."""
    tensors = load_file(directory / WEIGHTS)
    specs = json.loads((directory / SPECS).read_text(encoding="utf-8"))
    forms = {}
    for role, spec in specs.items():
        below = {
            name.removeprefix(f"{role}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{role}/")
        }
        forms[role] = unpack(spec, below)
    return forms, {name: tensor for name, tensor in tensors.items() if "/" not in name}


def _write(directory: Path, model: Model, forms: Mapping[str, Parametrization], storage: torch.dtype) -> None:
    specs, tensors = {}, {name: _narrow(tensor, storage).contiguous() for name, tensor in model.rest().items()}
    for role in model.matrices:
        spec, packed = (forms[role] if role in forms else model.form(role).stored(storage)).pack()
        specs[role] = spec
        tensors |= {f"{role}/{name}": tensor.contiguous() for name, tensor in packed.items()}
    save_file(tensors, directory / WEIGHTS)
    (directory / SPECS).write_text(json.dumps(specs, indent=1), encoding="utf-8")
    model.config.save_pretrained(directory)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(directory)
    for file in directory.iterdir():  # some are written as private temporary files first
        shutil.copymode(directory / SPECS, file)


def _layout(model: Model, forms: Mapping[str, Parametrization], storage: torch.dtype) -> Layout:
    layout: Layout = {
        name: (_narrowed(tensor.dtype, storage), tuple(tensor.shape)) for name, tensor in model.rest().items()
    }
    for role in model.matrices:
        form = forms[role] if role in forms else model.form(role)
        if role not in forms and role in model.packed:
            form = form.stored(storage)
        for name, (dtype, shape) in form.layout.items():
            plain = role not in forms and role not in model.packed  # dense: known without rounding a copy of it
            layout[f"{role}/{name}"] = (storage if plain else dtype, shape)
    return layout


def _narrowed(dtype: torch.dtype, storage: torch.dtype) -> torch.dtype:
    return storage if dtype.is_floating_point else dtype


def _narrow(tensor: Tensor, storage: torch.dtype) -> Tensor:
    return tensor.to(_narrowed(tensor.dtype, storage))
