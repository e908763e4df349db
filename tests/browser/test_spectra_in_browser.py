"""The cut of a spectrum in a real browser: drag it, move it by keys, come back by link, click a cell of the map."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
SETTLED = "() => /numbers.*error/.test(document.querySelector('h4')?.innerText) && !/…|estimate/.test(document.querySelector('h4').innerText)"


def opened(page: Page, address: str) -> Locator:
    """The cut, once the model's score at it is measured."""
    page.goto(address)
    cut = page.get_by_role("slider", name="Cut of ")
    cut.wait_for()
    page.wait_for_function(SETTLED)
    return cut


def tiles(page: Page) -> list[str]:
    return page.locator(".spectrum-cut .tile .value").all_inner_texts()


def grip(page: Page) -> tuple[float, float]:
    box = None
    while box is None:  # new points redraw the picture, and what is replaced has no place
        box = page.locator(".spectrum-cut .grip").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + 120


def test_the_read_out_follows_the_hand_and_the_address_its_release(address: str, page: Page) -> None:
    opened(page, f"{address}/spectra?beside_causal=nothing&role=layers.1.attention.q")
    before, (x, y) = tiles(page), grip(page)
    assert before[0] == "128"
    page.mouse.move(x, y)
    page.mouse.down()
    seen = []
    for step in range(1, 6):
        page.mouse.move(x - 40 * step, y)
        seen.append(tiles(page))
    ranks, energies = [int(one[0]) for one in seen], [float(one[1].rstrip("%")) for one in seen]
    assert ranks == sorted(ranks, reverse=True)
    assert energies == sorted(energies, reverse=True)
    assert len(set(ranks)) == 5
    assert "cut=" not in page.url, "Python hears of it on release"
    page.mouse.up()
    page.wait_for_url(f"**cut={ranks[-1]}*")
    expect(page.locator("h4")).to_contain_text(f"cut at rank {ranks[-1]} keeps {seen[-1][1]}")
    again = page.context.new_page()
    opened(again, page.url)
    assert tiles(again)[:4] == seen[-1][:4]
    assert again.locator("h4").inner_text().split(";")[0] == page.locator("h4").inner_text().split(";")[0]


def test_escape_takes_a_drag_back(address: str, page: Page) -> None:
    opened(page, f"{address}/spectra?beside_causal=nothing&role=layers.1.attention.q&cut=100")
    x, y = grip(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 200, y)
    assert tiles(page)[0] != "100"
    page.keyboard.press("Escape")
    assert tiles(page)[0] == "100"
    page.mouse.up()
    page.wait_for_timeout(800)
    assert "cut=100" in page.url


def test_keys_alone_move_the_cut(address: str, page: Page) -> None:
    cut = opened(page, f"{address}/spectra?beside_causal=nothing&role=layers.1.attention.q&cut=100")
    expect(page.get_by_text("measuring rank")).to_have_count(
        0, timeout=120_000
    )  # where the page is drawn anew meanwhile, Tab may begin again
    page.get_by_role("button", name="Apply this cut").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        if cut.evaluate("one => one === one.getRootNode().activeElement"):
            break
    else:
        pytest.fail("Tab does not reach the cut")
    ring = page.locator(".spectrum-cut .cut .ring")
    assert ring.evaluate("one => getComputedStyle(one).stroke") != "none", "the focus is seen"
    for key, rank in (
        ("ArrowLeft", 99),
        ("Shift+ArrowRight", 109),
        ("ArrowUp", 110),
        ("Home", 1),
        ("End", 256),
        ("ArrowDown", 255),
    ):
        page.keyboard.press(key)
        assert tiles(page)[0] == str(rank)
        assert cut.get_attribute("aria-valuenow") == str(rank)
    assert "a loss: above break-even" in str(cut.get_attribute("aria-valuetext"))
    page.wait_for_url("**cut=255*")
    expect(page.locator("h4")).to_contain_text("a loss above break-even")
    expect(cut).to_be_focused()  # also where a rerun put a new picture in its place
    cut.press("Shift+ArrowDown")
    cut.press("Escape")
    assert tiles(page)[0] == "255", "Esc takes back what has not come to rest"


def test_a_click_on_a_cell_selects_its_matrix(address: str, page: Page) -> None:
    page.goto(f"{address}/spectra?spectra_view=All+layers")
    for share, role in ((0.93, "layers.5.mlp.down"), (0.07, "layers.0.attention.q")):
        page.wait_for_selector(".js-plotly-plot .heatmaplayer image", state="attached")
        expect(page.locator(".stProgress")).to_have_count(0, timeout=120_000)
        page.wait_for_function(SETTLED)
        x, y, width, height = page.evaluate("""() => {
            const plot = document.querySelector('.js-plotly-plot');
            const [outer, size] = [plot.getBoundingClientRect(), plot._fullLayout._size];
            return [outer.x + size.l, outer.y + size.t, size.w, size.h];
        }""")
        page.mouse.move(x + share * width, y + share * height)
        page.wait_for_selector(".js-plotly-plot .hoverlayer .hovertext")
        page.mouse.down()
        page.mouse.up()
        expect(page.locator("h4")).to_contain_text(role)
        page.wait_for_url(f"**role={role}*")


@pytest.mark.parametrize("view", ["One+matrix", "All+layers", "Alternating+least+squares"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_the_screen(address: str, page: Page, view: str, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(f"{address}/spectra?spectra_view={view}&sparsity=50")
    page.wait_for_selector(".spectrum-cut svg" if view == "One+matrix" else ".js-plotly-plot")
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_picture_is_saved_as_it_stands(address: str, page: Page) -> None:
    opened(page, f"{address}/spectra?beside_causal=nothing&role=layers.1.attention.q&cut=100")
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").first.click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "cut at rank 100 of 256" in text.replace("</tspan>", " ")
    assert 'width="1280" height="720"' in text


def test_every_figure_says_how_it_is_made(address: str, page: Page) -> None:
    opened(page, f"{address}/spectra?beside_causal=nothing&role=layers.1.attention.q&cut=100")
    meanings = page.locator(".spectrum-cut .tile").evaluate_all("all => all.map(one => one.title)")
    for said, formula in zip(
        meanings,
        ("W ≈ Wᵣ = U Vᵀ", "Σσᵢ²", "Eckart and Young", "r (m + n) / (m n)", "exp of the mean loss"),
        strict=True,
    ):
        assert formula in said
    assert re.search(r"Scored on [\d,]+ tokens in \w+, sequences of 257", meanings[-1])
