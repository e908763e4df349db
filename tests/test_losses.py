"""What the loss rises by without a unit is that of a copy of the model with zeros there, and is measured once."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from reparam_core import ReparamError, apply, load, losses, resuming, statistics
from reparam_core.apply import CancelledError, Returning
from reparam_core.losses import LENGTH, SEQUENCES, measured_on, numbers_read, with_losses
from reparam_core.methods.base import Method
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Statistics
from reparam_core.registry import methods
from reparam_core.roles import layer_of
from reparam_core.statistics import one_shot
from tests.tiny import FAMILIES, SMALL, built, read

pytestmark = pytest.mark.usefixtures("own_store")
HEADS = {"classifier": t.BertForSequenceClassification, "encoder": t.BertModel}
EVERY = pytest.mark.parametrize("name", [*FAMILIES, *HEADS])
UNITS = pytest.mark.parametrize("unit", ["heads", "layers"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models whose matrices are large enough for a unit to matter, and whose biases are not zero."""
    place = tmp_path_factory.mktemp("models")
    for name in (*FAMILIES, *HEADS):
        torch.manual_seed(0)
        one = built(name) if name in FAMILIES else HEADS[name](t.BertConfig(**SMALL, num_labels=3))
        for parameter in one.parameters():
            parameter.data = (
                parameter.data * 4 if parameter.ndim > 1 else parameter.data + 0.1 * torch.randn_like(parameter)
            )
        one.half().save_pretrained(place / name)
    return place


def method_of(unit: str) -> Method:
    made: Method = methods()[f"measured-{unit}"]()
    return made


def known(model: Model, unit: str, seed: int = 0, told: list[str] | None = None) -> dict[str, Statistics]:
    """Statistics of every matrix of the blocks, with the rises of the loss."""
    roles, text = [role for role, one in model.matrices.items() if one.compressed_by_default], read(seed=seed)
    first = Returning(one_shot(model, roles, text))
    list(first)
    second = Returning(with_losses(model, first.value, dict.fromkeys(roles, method_of(unit)), text))
    for _, what in second:
        if told is not None:
            told.append(what)
    return second.value


def answers(name: str, module: Any, ids: Tensor) -> Tensor:
    """(answers, classes or width), as the model is asked for its loss."""
    if name == "t5":
        start = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)
        return module(input_ids=ids, decoder_input_ids=start).logits[0]
    found = module(input_ids=ids)
    return found.last_hidden_state[0] if name == "encoder" else found.logits.reshape(-1, found.logits.shape[-1])


def plain_loss(name: str, module: Any, untouched: Any, ids: Tensor) -> float:
    """As the model learned, written down once more; where no text is labelled the untouched model says what is true."""
    mine = answers(name, module, ids).double()
    if name == "encoder":
        draw = torch.randn(mine.shape, generator=torch.Generator().manual_seed(0))
        truth = answers(name, untouched, ids).double() - draw
        return float((mine - truth).square().sum(1).mean() / 2)
    if name == "classifier":
        return float(-mine.log_softmax(-1)[0, int(answers(name, untouched, ids).argmax())])
    if name == "bert":
        return float(cross_entropy(mine[[3, 10]], ids[0, [3, 10]]))
    return float(cross_entropy(mine, ids[0]) if name == "t5" else cross_entropy(mine[:-1], ids[0, 1:]))


def rise_by_hand(name: str, model: Model, zeros: dict[str, Tensor]) -> float:
    """Of a copy in which these columns are zero, over the first sequences."""
    own: Any = copy.deepcopy(model.module)
    for role, columns in zeros.items():
        module = own.get_submodule(model.matrices[role].module)
        module.weight.data = module.weight.data.clone()
        module.weight.data[columns if isinstance(module, Conv1D) else (slice(None), columns)] = 0
    with torch.no_grad():
        rises = [plain_loss(name, own, model.module, ids) - plain_loss(name, model.module, model.module, ids)
                 for ids in read().ids[:SEQUENCES].split(1)]  # fmt: skip
    return sum(rises) / len(rises)


@EVERY
def test_without_a_head_the_loss_is_that_of_zeros_in_its_columns(name: str, folder: Path) -> None:
    """Of a key/value head with all the queries that share it."""
    model = load(folder / name)
    found = known(model, "heads")
    leading_out = [role for role in found if role.endswith(".o")]
    units = 2 if name in ("llama", "mistral", "gemma2") else 4
    for role in leading_out:
        rises = found[role].rises
        assert rises is not None
        for columns in torch.arange(len(rises)).view(units, -1):
            assert len(rises[columns].unique()) == 1
            expected = rise_by_hand(name, model, {role: columns})
            assert float(rises[columns[0]]) == pytest.approx(expected, rel=1e-3, abs=1e-5), (role, columns)
        assert len(rises.unique()) == units
    assert {role for role, one in found.items() if one.rises is not None} == set(leading_out)


@EVERY
def test_without_a_layer_the_loss_is_that_of_zeros_in_all_its_matrices(name: str, folder: Path) -> None:
    model = load(folder / name)
    found = known(model, "layers")
    for layer in dict.fromkeys(map(layer_of, found)):
        whole = {role: torch.arange(model.matrices[role].shape[1]) for role in found if layer_of(role) == layer}
        expected = rise_by_hand(name, model, whole)
        out = [one.rises for role, one in found.items() if layer_of(role) == layer and role.endswith((".o", ".down"))]
        assert len(out) == (3 if layer.startswith("decoder") else 2)
        for rises in out:
            assert rises is not None
            assert rises.tolist() == pytest.approx([expected] * len(rises), rel=1e-3, abs=1e-5), layer


@EVERY
def test_the_heads_that_are_missed_least_go_with_their_group(name: str, folder: Path) -> None:
    model = load(folder / name)
    rises = {role: one.rises for role, one in known(model, "heads").items() if one.rises is not None}
    forms = apply(model, "measured-heads:0.5", calibration=read()).forms
    for role, every in rises.items():
        k, q = (forms[f"{role.removesuffix('.o')}.{one}"] for one in "kq")
        width = 8 * q.shape[0] // k.shape[0]
        units = every.view(-1, width)[:, 0]
        kept = units.argsort()[len(units) // 2 :].sort().values
        columns = torch.arange(len(every)).view(-1, width)[kept].flatten()
        assert torch.equal(forms[role].columns, columns)
        assert torch.equal(q.rows, columns)
        assert torch.equal(k.rows, torch.arange(k.shape[0]).view(-1, 8)[kept].flatten())


@EVERY
def test_of_every_stack_the_layer_that_is_missed_least_goes(name: str, folder: Path) -> None:
    model = load(folder / name)
    rises = {
        layer_of(role): float(one.rises[0]) for role, one in known(model, "layers").items() if one.rises is not None
    }
    forms = apply(model, "measured-layers:0.5", calibration=read()).forms
    gone = {layer_of(role) for role, form in forms.items() if not form.parameters_kept}
    stacks = {layer.rpartition("layers.")[0] for layer in rises}
    least = {
        min((one for one in rises if one.startswith(f"{stack}layers.")), key=rises.__getitem__) for stack in stacks
    }
    assert gone == least


@UNITS
def test_the_shared_model_is_left_as_it_is(unit: str, folder: Path) -> None:
    model = load(folder / "llama")
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    known(model, unit)
    assert all(torch.equal(before[key], value) for key, value in model.module.state_dict().items())
    assert not any(one._forward_pre_hooks or one._forward_hooks for one in model.module.modules())
    assert not any("forward" in vars(one) for one in model.module.modules())


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@UNITS
def test_of_a_packed_folder_that_adds_a_bias_it_is_what_the_folder_answers(
    name: str, unit: str, folder: Path, tmp_path: Path
) -> None:
    """Columns that went before are no unit's, and what stands for them is added still."""
    setting = apply(load(folder / name), "flap-neurons:0.5", calibration=read(seed=3))
    write_packed(tmp_path / "packed", setting.model, setting.forms, setting.storage)
    model, own = load(tmp_path / "packed"), copy.deepcopy(setting.model.module)
    for role, form in setting.forms.items():
        one: Any = own.get_submodule(model.matrices[role].module)
        one.weight.data = form.dense().T if isinstance(one, Conv1D) else form.dense()
        more = form(torch.zeros(1, form.shape[1]))[0]
        if more.any():
            one.bias = nn.Parameter(more if one.bias is None else one.bias + more, requires_grad=False)
    plain = copy.copy(model)
    plain.module, plain.sha256, plain.packed, plain.known = own, "with a bias", {}, {}
    mine, theirs = known(model, unit), known(plain, unit)
    for role, found in theirs.items():
        if found.rises is not None:
            torch.testing.assert_close(mine[role].rises, found.rises, rtol=1e-3, atol=1e-5)
    assert len(apply(model, f"measured-{unit}:0.5", calibration=read()).forms) >= 8


@UNITS
def test_measured_once_for_every_rule_and_anew_for_another_text(
    unit: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, passes, whole = load(folder / "llama"), list[int](), losses.answers_of
    monkeypatch.setattr(losses, "answers_of", lambda *given: (passes.append(1), whole(*given))[1])
    first, units = known(model, unit), {"heads": 4, "layers": 2}[unit]
    assert len(passes) == SEQUENCES * (1 + units)
    again = known(model, unit)
    for share in (0.5, 0.6):
        apply(model, {"rules": [{"where": "layers.1.*", "sparsity": {"method": f"measured-{unit}", "fraction": share}}]},
              calibration=read())  # fmt: skip
    assert len(passes) == SEQUENCES * (1 + units)
    other = known(model, unit, seed=1)
    assert len(passes) == 2 * SEQUENCES * (1 + units)
    one, same, another = (found["layers.1.attention.o"].rises for found in (first, again, other))
    assert one is not None
    assert same is not None
    assert another is not None
    assert torch.equal(one, same)
    assert not torch.equal(one, another)


def test_what_was_broken_off_goes_on_with_the_next_block(folder: Path) -> None:
    model, told, whole = load(folder / "llama"), list[str](), known(load(folder / "llama"), "heads", seed=4)

    def heads(seed: int, stop: str = "nowhere") -> Any:
        return apply(model, "measured-heads:0.5", calibration=read(seed=seed), progress=lambda _, what: told.append(what),
                     cancelled=lambda: bool(told) and stop in told[-1])  # fmt: skip

    with pytest.raises(CancelledError):
        heads(5, "unit 2 of layers.1.attention")
    told.clear()
    heads(5)
    measured = list(dict.fromkeys(one for one in told if "Measuring" in one))
    assert measured == [f"Measuring without unit {unit} of layers.1.attention: {unit + 2} of 4" for unit in (1, 2)]
    told.clear()
    heads(4)
    assert not [one for one in told if "Measuring" in one]
    assert len(whole) == 14


def test_progress_is_told_unit_by_unit(folder: Path) -> None:
    told: list[tuple[float, str]] = []
    apply(load(folder / "t5"), "measured-layers:0.5", calibration=read(),
          progress=lambda share, what: told.append((share, what)))  # fmt: skip
    measured = [(share, what) for share, what in told if "Measuring" in what]
    layers = ["encoder.layers.0", "encoder.layers.1", "decoder.layers.0", "decoder.layers.1"]
    assert list(dict.fromkeys(what for _, what in measured)) == [
        f"Measuring without {layer}: {number} of 4" for number, layer in enumerate(layers, 1)
    ]
    assert [share for share, _ in measured] == [index / (4 * SEQUENCES) for index in range(4 * SEQUENCES)]
    assert [what for _, what in told if "untouched" in what] == [
        f"Loss of the untouched model: {index} of {SEQUENCES} sequences" for index in range(SEQUENCES)
    ]


def test_blocks_before_the_one_that_is_changed_do_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, whole = list[str](), losses.Resumed

    class Watched(whole):
        """Notes which block's first norm runs."""

        def __init__(self, module: nn.Module, skipped: Any) -> None:
            super().__init__(module, skipped)
            for number in (0, 1):
                norm = self.module.get_submodule(f"model.layers.{number}.input_layernorm")
                norm.register_forward_hook(lambda *_given, number=number: ran.append(f"layers.{number}"))

    monkeypatch.setattr(losses, "Resumed", Watched)
    known(load(folder / "llama"), "layers")
    assert ran == ["layers.0", "layers.1"] * SEQUENCES + ["layers.1"] * SEQUENCES


@UNITS
def test_only_the_beginnings_of_the_first_sequences_are_read(unit: str, folder: Path) -> None:
    long = read(SEQUENCES + 3, LENGTH + 5)
    short = measured_on(long)
    assert torch.equal(short.ids, long.ids[:SEQUENCES, :LENGTH])
    assert short.provenance() != read(SEQUENCES, LENGTH).provenance(), "cut from longer ones it is another text"
    few = read(2, 7)
    assert torch.equal(measured_on(few).ids, few.ids)
    assert apply(load(folder / "llama"), f"measured-{unit}:0.5", calibration=few).forms


@UNITS
def test_behind_compressed_blocks_there_are_none(unit: str, folder: Path) -> None:
    recipe = f"measured-{unit}:0.5"
    with pytest.raises(ReparamError, match=rf"measured-{unit} needs losses.* Write {recipe}\."):
        apply(load(folder / "llama"), f"{recipe}@sequential", calibration=read())


def test_nothing_is_measured_where_nothing_asks_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "answers_of", lambda *_: pytest.fail("a pass over the text"))
    apply(load(folder / "llama"), "fisher-svd:0.5 + gptq:4g16", calibration=read())


def test_what_needs_losses_alone_reads_no_more_for_its_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, whole = list[int](), statistics._read
    monkeypatch.setattr(statistics, "_read", lambda model, module, ids: (tokens.append(ids.numel()), whole(model, module, ids)))  # fmt: skip
    apply(load(folder / "llama"), "measured-layers:0.5", calibration=read(12, 12))
    assert sum(tokens) <= (SEQUENCES + 1) * 12
    apply(load(folder / "llama"), "measured-heads:0.5 + gptq:4g16@sequential", calibration=read(1, 12))
    tokens.clear()
    apply(load(folder / "llama"), "measured-layers:0.5 + gptq:4g16", calibration=read(12, 12))
    assert sum(tokens) == (1 + 12) * 12


def test_how_many_numbers_are_multiplied_with_is_counted(folder: Path) -> None:
    """A layer of llama: q and o 32 × 32, k and v 16 × 32, the MLP 3 × 48 × 32; the tied head 96 × 32."""
    model, layer, head = load(folder / "llama"), 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32, 96 * 32
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    for unit, each in (("layers", 1), ("heads", 2)):
        assert numbers_read(model, dict.fromkeys(roles, method_of(unit))) == each * (3 * layer + 2 * head)


def test_a_resumed_module_answers_as_the_whole(folder: Path) -> None:
    for name in FAMILIES:
        model, noted = load(folder / name), dict[str, Any]()
        paths = list(losses.block_paths(model).values())
        given = losses.Resumed(model.module, [])
        ids = read().ids
        extra = {"decoder_input_ids": ids} if name == "t5" else {}
        with torch.no_grad():
            expected = resuming.noting(model.module, paths, noted)(input_ids=ids, **extra).logits
            assert list(noted) == paths
            for skipped in range(len(paths)):
                given = losses.Resumed(model.module, paths[:skipped])
                given.known = noted
                torch.testing.assert_close(given(input_ids=ids, **extra).logits, expected, rtol=1e-5, atol=1e-5)
