"""The reference card of a method."""

from streamlit.testing.v1 import AppTest

from pages.components.reference_card import HEADINGS, rows_of, table_of
from reparam_core.data.cards import Card, Run, card


def drawn(method: str) -> AppTest:
    def draw(method: str) -> None:
        from pages.components.reference_card import reference_card

        reference_card(method)

    page = AppTest.from_function(draw, kwargs={"method": method}, default_timeout=60).run()
    assert not page.exception
    return page


def test_the_authors_figure_stands_beside_this_ones() -> None:
    page = drawn("wanda")
    (line,) = (one for one in page.markdown[0].value.splitlines() if "`wanda:0.5@sequential`" in one)
    _, _, reference, _, _, gap, _ = (cell.strip() for cell in line.split("|"))
    assert reference == "99.9"
    assert float(gap.partition(" ")[0]) <= 0.02
    assert "to" in gap
    assert any("Moby Dick" in one.value for one in page.caption)
    assert any("LLaMA-2-7B" in one.value for one in page.caption)
    assert any("would be narrower" in one.value for one in page.caption)


def test_what_the_method_needs_comes_first() -> None:
    assert "Gram matrix" in drawn("gptq").caption[0].value
    assert "Nothing but the weights" in drawn("hqq").caption[0].value


def test_without_a_reference_run_the_card_says_so() -> None:
    assert any("No reference run" in one.value for one in drawn("random").caption)


def test_what_nobody_ran_is_called_so() -> None:
    run = Run("x:1", {"moby_dick": 10.0}, {}, {}, "")
    (row,) = rows_of(Card([], [run]), "moby_dick")
    assert (row["reference"], row["here"], row["gap"]) == ("10", "not run", "–")
    (row,) = rows_of(Card([], [run]), "sotu_1850")
    assert (row["reference"], row["here"], row["gap"]) == ("not run", "not run", "–")


def test_every_line_of_a_table_has_every_cell() -> None:
    rows = rows_of(card("gptq"), "moby_dick")
    lines = table_of(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert {line.count("|") for line in lines} == {len(HEADINGS) + 1}
