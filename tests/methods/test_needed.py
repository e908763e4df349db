"""What a method needs and takes is said of every method and every rewrite."""

from reparam_core.methods.needed import NEEDED, needs
from reparam_core.registry import methods, transforms


def test_everything_that_is_read_has_words() -> None:
    for kind in [*methods().values(), *transforms().values()]:
        assert kind.needs <= set(NEEDED), kind.name
        assert needs(kind).startswith("Calibration text" if kind.needs else "Nothing but the weights"), kind.name


def test_what_is_limited_is_said() -> None:
    assert needs(methods()["magnitude"]) == "Nothing but the weights"
    assert "Gram matrix" in needs(methods()["gptq"])
    assert "loss without each" in needs(methods()["measured-heads"])
    assert "every matrix of an attention together" in needs(methods()["measured-heads"])
    assert "4 bits alone, one scale or table for 32 numbers" in needs(methods()["mxfp4"])
    assert "1 bit alone" in needs(methods()["binary"])
    assert "a row or a matrix" in needs(methods()["codebook"])
    assert "decoders with RMSNorm" in needs(transforms()["rotate"])
