"""The views of docs/index.html, the explorer, in a real browser: addresses, clicks and keys."""

import json
import math
import re

import pytest

from docs import ablations, explorer
from docs.networks import on_meta
from models.googlenet import GoogLeNet
from tests.test_ablation_table import HEAD, RECIPE

PAGE = explorer.PAGE.read_text(encoding="utf-8")
ADDRESSES = (  # of every view, and what must be there
    ("#vgg16", "walk", "VGG16"),
    ("#vgg16/conv3_1", "walk", "3·3·128·256 + 256 = 295,168"),
    ("#vgg16/fc1", "walk", "7·7·512·4096 + 4096 = 102,764,544"),
    ("#googlenet/inception3a", "walk", "64 + 128 + 32 + 32 = 256"),
    ("#googlenet/inception3a/branch_5x5", "walk", "5·5·16·32 + 32 = 12,832"),
    ("#googlenet/pool1", "walk", "⌈112 / 2⌉ = 56"),
    ("#googlenet/aux4a", "walk", "3,188,840"),
    ("#change", "change", "as in the paper"),
    ("#change/vgg16/size=100", "change", "must be a multiple of 32, got 100"),
    ("#change/googlenet/size=64", "change", "64 px image is too small"),
    ("#change/googlenet/size=31", "change", "Take 32 px without the heads"),
    ("#change/googlenet/heads=0&if=3x3", "change", "pytorch/vision#906"),
    ("#see/clothing/0/inception3a", "see", "inception (3a)"),
    ("#see/pets/0/conv1", "see", "Cat"),
    ("#see/photos/1/inception4e", "see", "shoes"),
    ("#hand/0", "hand", "1·1 + 0·0 + (−1)·0"),
    ("#hand/99", "hand", "5.75"),
    ("#trained/0", "trained", "GoogLeNet, 22 epochs"),
    ("#constructor/%/x", "walk", "VGG16"),  # what makes no sense leads to a view all the same
    ("#change/constructor/size=x&module=7&widths=1", "change", "needs an image_size of 32 or more"),
    ("#see/constructor/constructor/constructor", "see", "T-shirt/top"),
    ("#trained/length", "trained", "GoogLeNet, 22 epochs"),
)


def test_every_view_has_an_address(browser):
    visible = "document.querySelector('main > section:not([hidden])')"
    for width in (380, 1280):
        browser.size(width)
        for address, view, text in ADDRESSES:
            browser.go(address)
            assert browser.run(f"{visible}.id") == view, address
            assert text in browser.run(f"{visible}.innerText"), address
            wide = browser.run("document.documentElement.scrollWidth")
            assert wide <= width, (address, wide)
    browser.run("document.documentElement.style.fontSize = '200%'")
    for address, _, _ in ADDRESSES:
        browser.go(address)
        assert browser.run("document.documentElement.scrollWidth") <= 1280, address
    browser.run("document.documentElement.style.fontSize = ''")
    assert browser.complaints() == []


VIEW = "document.querySelector('main > section:not([hidden])').id"


def test_every_view_by_keyboard(browser):
    browser.size(1280)
    browser.open(explorer.PAGE.as_uri())
    for expected in ("change", "see", "hand", "trained", "walk"):
        browser.run("document.querySelector('.skip').focus()")
        for _ in range(8):
            browser.press("Tab", 9)
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert browser.run(outline) != "none", "the focus cannot be seen"
            if browser.run("document.activeElement.dataset.view") == expected:
                break
        browser.press("Enter", 13)
        browser.until(VIEW, expected)
    browser.go("#googlenet/inception3a")
    browser.press("ArrowRight", 39)
    browser.until("document.querySelector('#rows [aria-current]').hash", "#googlenet/inception3b")
    # The rows are one stop for the Tab key: after the chosen one comes what it is.
    browser.run("document.querySelector('#rows [aria-current]').focus()")
    browser.press("ArrowDown", 40)
    browser.until("document.activeElement.textContent", "max pool 3×3/2")
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.closest('#detail') !== null")
    browser.go("#hand/0")
    for _ in range(9):
        browser.press("ArrowRight", 39)
    browser.until("location.hash", "#hand/9")
    # What is drawn anew keeps the focus: one chooses by keys alone.
    browser.go("#change/googlenet")
    browser.run("document.querySelector('[value=none]').focus()")
    for what_if in ("3x3", "direct", "114", "widths"):
        browser.press("ArrowDown", 40)
        browser.until("location.hash.split('&')[0]", f"#change/googlenet/if={what_if}")
        browser.until("document.activeElement.value", what_if)
    assert browser.complaints() == []


def test_links_of_the_chapter_lead_to_what_they_name(browser):
    links = re.findall(r"\(index\.html(#[^)]+)\)", (explorer.PAGE.parent / "papers.md").read_text())
    assert len(links) > 15
    for address in links:
        browser.go(address)
        if address.startswith("#change/"):  # all of it is understood
            written = browser.run("addressOf(settingsFrom(...location.hash.split('/').slice(1)))")
            assert written.startswith(address)
        elif not address.startswith("#hand/"):
            chosen = browser.run(
                "[...document.querySelectorAll('main [aria-current]')].map(String)"
            )
            assert any(link.endswith(address) for link in chosen), address
    assert browser.complaints() == []


def test_what_a_newcomer_clicks(browser):
    """Rows and branches, options, cells of a map, steps, images behind a cell."""
    browser.size(1280)
    browser.run("spot = [0, 0]")
    for address, selector, outcome, value in (
        ("#vgg16", "#strip a[href$=conv3_1]", "location.hash", "#vgg16/conv3_1"),
        ("#vgg16/conv3_1", "#network a[href='#googlenet']", "location.hash", "#googlenet"),
        ("#googlenet", ".branches a:nth-of-type(3)", "location.hash.slice(-10)", "branch_5x5"),
        ("#change/googlenet", "[name=heads]", "location.hash", "#change/googlenet/heads=0"),
        ("#change/vgg16", "[value='5x5']", "location.hash", "#change/vgg16/if=5x5"),
        ("#see/clothing/0/inception5b", ".map", "$('looking').querySelector('input').value", "1"),
        ("#see/pets/0/conv1", "#looking button", "evidence", True),
        ("#hand/3", "#next", "location.hash", "#hand/4"),
        ("#trained/1", ".confusion td:nth-of-type(1) button", "String(confused)", "0,0"),
    ):
        browser.go(address)
        browser.click(selector)
        browser.until(outcome, value)
    assert browser.complaints() == []


def test_numbers_typed_by_hand(browser):
    """A pixel of the layer by hand, and the size of the image."""
    browser.go("#hand/0")
    browser.run("document.querySelector('[data-cell=\"X[0, 0]\"]').select()")
    browser.press("5", 53)
    browser.press("Tab", 9)
    browser.until("arithmetic.layer(given).Y[0][0]", 7)
    browser.until("document.querySelector('#sentence output').innerText.slice(-3)", "= 7")
    # All follows while one types, so that the next click is not lost to a page drawn anew.
    for cell, key in (("K[0, 1]", "5"), ("K[0, 2]", "6")):
        browser.click(f'[data-cell="{cell}"]')
        browser.press(key, ord(key))
        browser.until("document.activeElement.dataset.cell", cell)
    browser.click("#next")
    browser.until("location.hash", "#hand/1")
    browser.until("given.K[0]", [1, 5, 6])
    browser.go("#change/googlenet/heads=0")
    browser.run("document.querySelector('[type=number][name=size]').select()")
    browser.press("9", 57)
    browser.press("6", 54)
    browser.until("location.hash", "#change/googlenet/size=96&heads=0")
    browser.until("document.querySelector('#changed-rows').innerText.includes('24 × 24')", True)
    assert (
        browser.run("document.querySelector('#settings .switch a').hash") == "#change/vgg16/size=96"
    )
    # A width that no convolution has is shown as what was taken of it.
    browser.go("#change/googlenet/if=widths")
    browser.run("document.querySelector('.six input').select()")
    browser.press("0", 48)
    browser.press("Tab", 9)
    browser.until("document.querySelector('.six input').value", "1")
    browser.until("location.hash.split('widths=')[1]", "1,96,128,16,32,32")


def test_focus_ring_is_whole(browser):
    """No box that scrolls cuts it off."""
    cut = """{
      const one = document.activeElement, style = getComputedStyle(one);
      const out = parseFloat(style.outlineOffset) + parseFloat(style.outlineWidth) - 0.5;
      const ring = one.getBoundingClientRect();
      const box = one.closest(":is(.rows, .scroll, #phases, #run-list) *")
        ?.parentElement.closest(".rows, .scroll, #phases, #run-list").getBoundingClientRect();
      box && [ring.left - out < box.left, ring.right + out > box.right,
        ring.top - out < box.top, ring.bottom + out > box.bottom].includes(true);
    }"""
    browser.size(1280)
    for address, inside in (("#change", 20), ("#hand", 10), ("#trained", 30)):
        browser.go(address)
        browser.run("document.querySelector('#main').focus()")
        seen = 0
        for _ in range(60):
            browser.press("Tab", 9)
            found = browser.run(cut)
            name = browser.run("document.activeElement.textContent")
            assert not found, f"{address}: the focus ring of {name!r} is cut off"
            seen += found is False
        assert seen >= inside, address


# ---------------------------------------------------------------- what a click shows


def test_click_beside_the_name_of_a_row(browser):
    """On a phone too, where the table lies below the chosen row."""
    for width in (1280, 380):
        browser.size(width)
        browser.go("#googlenet")
        browser.click("#rows tbody tr:nth-child(9) td")
        browser.until("location.hash", "#googlenet/inception4b")
        browser.until("document.querySelector('#detail h2').textContent", "inception (4b)")
    assert 0 <= browser.run("document.querySelector('#detail').getBoundingClientRect().top") < 32


def test_branches_and_the_whole_module(browser):
    """Each branch has its own numbers, those of PyTorch; their sum leads back to all four."""
    browser.size(1280)
    module = on_meta(GoogLeNet).inception4a
    counted = {}
    parameters = "document.querySelectorAll('#detail .facts dd')[1].firstChild.data"
    worked = "document.querySelector('.sums').innerText"
    browser.go("#googlenet/inception4a")
    for number, (name, branch) in enumerate(module.named_children(), 1):
        counted[name] = sum(weights.numel() for weights in branch.parameters())
        browser.click(f".branches a:nth-of-type({number})")
        browser.until("location.hash", f"#googlenet/inception4a/{name}")
        browser.until(parameters, f"{counted[name]:,}")
        assert f"= {counted[name]:,}" in browser.run(worked)
        made = "[...document.querySelectorAll('.code .made')].map((line) => line.innerText).join()"
        assert f"self.{name}" in browser.run(made)
    browser.click(".branches .whole")
    browser.until("location.hash", "#googlenet/inception4a")
    browser.until(parameters, f"{sum(counted.values()):,}")
    assert "192 + 208 + 48 + 64 = 512" in browser.run(worked)
    assert f"= {sum(counted.values()):,}" in browser.run(worked)


@pytest.mark.parametrize("network", ["vgg16", "googlenet"])
def test_legend_has_the_colours_of_the_rows(browser, network):
    browser.go(f"#{network}")
    colour = "getComputedStyle(one, '::before').backgroundColor"
    keys = "[...document.querySelectorAll('.legend .key')].filter((one) => one.offsetParent)"
    legend = browser.run(f"Object.fromEntries({keys}.map((one) => [one.textContent, {colour}]))")
    rows = "[...document.querySelectorAll('#rows tbody th')]"
    edge = "getComputedStyle(one).boxShadow"
    kinds = {"conv": "convolution", "max": "pooling", "avg": "pooling", "inc": "concatenation"}
    kinds |= {"FC-": "linear", "lin": "linear", "aux": "linear", "dro": "dropout"}
    shown = set()
    for name, shadow in browser.run(f"{rows}.map((one) => [one.textContent, {edge}])"):
        kind = next(kind for start, kind in kinds.items() if name.startswith(start))
        assert shadow.startswith(legend[kind]), name
        shown.add(kind)
    assert shown == legend.keys() and len(set(legend.values())) == len(legend)


def test_frame_of_the_chosen_cell(browser):
    """Layer conv1 is 7x7/2 with padding 3: the cell in column c sees the pixels 2c-3 to 2c+3."""
    size, side = 64, 32
    chosen = "[...document.querySelectorAll('#looking input')].map((one) => Number(one.value))"

    def place(inner: str, outer: str) -> list[float]:
        """Left, top, right and lower edge of one element, in shares of another."""
        boxes = f"['{inner}', '{outer}'].map((one) => $('see').querySelector(one))"
        boxes = f"{boxes}.map((one) => one.getBoundingClientRect())"
        edges = "[a.left - b.left, a.top - b.top, a.right - b.left, a.bottom - b.top]"
        return browser.run(f"{{ const [a, b] = {boxes}; {edges}.map((x) => x / b.width) }}")

    browser.size(1280)
    browser.open(explorer.PAGE.as_uri())  # anew: an earlier test may have left the evidence on
    browser.go("#see/clothing/0/conv1")
    for selector, row, column in (
        (".photo", 10, 25),
        (".photo", 0, 31),
        (".maps figure:nth-child(3) .map", 20, 3),
        (".photo", 31, 0),
    ):
        browser.click("#looking button")  # the evidence, in place of the frame
        browser.until("document.querySelector('.photo').innerHTML.includes('evidence')", True)
        assert browser.run("document.querySelector('.frame')") is None
        browser.click(selector, (column + 0.5) / side, (row + 0.5) / side)
        browser.until(chosen, [row, column])
        low = [max(0, 2 * cell - 3) / size for cell in (column, row)]
        high = [min(size, 2 * cell + 4) / size for cell in (column, row)]
        assert place(".frame", ".photo") == pytest.approx(low + high, abs=0.005)
        cell = [column / side, row / side, (column + 1) / side, (row + 1) / side]
        assert place(".map i", ".map") == pytest.approx(cell, abs=0.005)
        assert f"row {row}, column {column} sees" in browser.run("$('looking').innerText")


def test_images_behind_a_cell(browser):
    """The cell of a class and an answer shows the images that have both, and no others."""
    seen = explorer.seen_in(PAGE)["clothing"]
    judged = list(zip(seen["judged"]["labels"], seen["judged"]["answers"], strict=True))
    browser.size(1280)
    browser.go("#trained/0")
    for pair, title in (
        ((6, 0), "Shirt, taken for T-shirt/top"),
        ((8, 8), "Bag, recognised"),
        ((9, 7), "Ankle boot, taken for Sneaker"),
        ((4, 6), "Coat, taken for Shirt"),
    ):
        row, column = pair[0] + 1, pair[1] + 1
        browser.click(f".confusion tbody tr:nth-child({row}) td:nth-of-type({column}) button")
        browser.until("document.querySelector('#behind h2').textContent", title)
        found = [i for i, both in enumerate(judged) if both == pair]
        pressed = "[...document.querySelectorAll('.confusion [aria-pressed=true]')]"
        names = browser.run(f"{pressed}.map((one) => one.ariaLabel)")
        assert names == [f"{title}: {len(found)}"]
        images = "[...document.querySelectorAll('#behind .thumbs i')]"
        shown = browser.run(f"{images}.map((one) => one.style.backgroundPosition)")
        rows = math.ceil(len(judged) / 25)  # of the sheet, 25 a row
        places = [[100 * (i % 25) / 24, 100 * (i // 25) / (rows - 1)] for i in found[:40]]
        numbers = [[float(x) for x in re.findall(r"[\d.]+", text)] for text in shown]
        assert len(numbers) == len(places), title
        for number, expected in zip(numbers, places, strict=True):
            assert number == pytest.approx(expected, abs=0.01)
    every = "[...document.querySelectorAll('.confusion button')]"
    wrong = f"{every}.filter((one) => one.disabled !== one.ariaLabel.endsWith(': 0')).length"
    assert browser.run(wrong) == 0, "a cell can be chosen if there are images behind it"


def test_ablations_say_what_they_rest_on(browser, tmp_path, monkeypatch):
    """The recipe's value, the pairs of runs, the error of two pairs or more, and what diverged."""
    three = [f"net,dropout,0.2,0.4,{seed},0.9{last}" for seed, last in enumerate((1, 3, 2))]
    once = ["net,rate,4e-3,1e-3,0,0.88", "net,rate,4e-3,8e-3,0,0.91", "net,rate,4e-3,8e-3,1,"]
    lost = ["net,rate,4e-3,1,0,"]
    browser.size(1280)
    browser.go("#trained/0")
    paired, path = ablations.paired, tmp_path / "ablations.csv"
    monkeypatch.setattr(ablations, "paired", lambda: paired(path))

    def shown(*lines: str) -> tuple[list[list[str]], str]:
        path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
        browser.run(f"data.ablations = {json.dumps(explorer.tried())}; showAblations()")
        rows = "[...document.querySelectorAll('.tried tbody tr')]"
        cells = browser.run(f"{rows}.map((row) => [...row.cells].map((cell) => cell.innerText))")
        return cells, browser.run("document.querySelector('#ablations .note').innerText")

    rows, note = shown(*RECIPE, *three, *once, *lost)
    assert rows == [
        ["Net; the recipe reaches 90.00\u00a0%"],
        ["dropout: 0.4", "0.2", "", "+2.00 ± 0.58", "3"],
        ["rate: 8e-3", "4e-3", "", "+1.00", "1, 1 diverged"],
        ["rate: 1e-3", "4e-3", "", "−2.00", "1"],
        ["rate: 1", "4e-3", "", "diverged", "0, 1 diverged"],
    ]
    assert "standard error" in note and "One pair" in note
    assert "One pair" not in shown(*RECIPE, *three)[1]
    assert "standard error" not in shown(*RECIPE, *once)[1]
    browser.open(explorer.PAGE.as_uri())


def test_changed_rows_fit_beside_their_settings(browser):
    for width in (1000, 1280):
        browser.size(width)
        for address in ("#change/googlenet/if=direct", "#change/vgg16/size=480"):
            browser.go(address)
            assert browser.run("$('changed-rows').scrollWidth <= $('changed-rows').clientWidth")
            assert browser.run("$('settings').getBoundingClientRect().right < innerWidth / 2")


def test_wide_table_on_a_phone(browser):
    """It fades where it goes on, and the rows' names stay in sight."""
    browser.size(380)
    browser.go("#change/vgg16/size=64")
    left = "one.getBoundingClientRect().left"
    cells = "[$('changed-rows'), $('changed-rows').querySelector('tbody th')]"
    fade = "getComputedStyle($('changed-rows')).getPropertyValue('--fade')"
    browser.until(fade, "48px")
    browser.run("$('changed-rows').scrollLeft = 9999")
    browser.until(fade, "0px")
    assert browser.run("$('changed-rows').scrollLeft") > 50
    box, name = browser.run(f"{cells}.map((one) => {left})")
    assert name == box


def test_batch_norm_takes_the_place_of_local_response_normalisation(browser):
    named = "$('worked').innerText.includes('local response normalisation')"
    browser.go("#change/googlenet/row=pool1")
    assert browser.run(named)
    browser.go("#change/googlenet/norm=1&row=pool1")
    assert "⌈112 / 2⌉ = 56" in browser.run("$('worked').innerText") and not browser.run(named)
