"""The slides: how slides.md is read, and whether slides.pptx and slides.pdf are made of it."""

import re
import shutil
import zipfile
from xml.etree import ElementTree

import pytest

from docs import slides
from engine.errors import UserError

TALK = slides.parse(slides.SOURCE.read_text(encoding="utf-8"))
A, P = (
    f"{{http://schemas.openxmlformats.org/{name}/2006/main}}"
    for name in ("drawingml", "presentationml")
)
PAGE = """# The talk

About `code`

> Said first.

## A part

### It's a message

<picture>
  <source media="dark" srcset="dark.svg">
  <img alt="A drawing" src="figures/vgg16.svg">
</picture>

![Photos](figures/a.png)

<!-- table: stacks -->
| a | b |
|---|---|
| 1 | |
<!-- end -->

```python
first = 1

last = 2
```

- one
  and more
- **two**

one → two → three

> Said
> second.
"""


def test_every_kind_of_block_is_read():
    title, slide = slides.parse(PAGE)
    assert (title.title, title.part, title.notes) == ("The talk", "", "Said first.")
    assert (slide.title, slide.part, slide.notes) == ("It's a message", "A part", "Said second.")
    blocks = [(block.kind, block.lines or block.rows) for block in slide.blocks]
    assert blocks == [
        ("picture", ["figures/vgg16.svg", "A drawing"]),
        ("picture", ["figures/a.png", "Photos"]),
        ("table", [["a", "b"], ["1", ""]]),
        ("code", ["first = 1", "", "last = 2"]),
        ("list", ["one and more", "**two**"]),
        ("flow", ["one", "two", "three"]),
    ]
    assert slides.paragraphs(slide)[:2] == ["A part", "It’s a message"]
    assert slides.runs("`a` [b](c)") == [("a", "code"), (" ", ""), ("b", "c")]


def test_a_part_of_a_picture_is_named_behind_its_path():
    assert slides.picture("figures/a.jpg") == (slides.DOCS / "figures/a.jpg", [0, 0, 100, 100])
    whole, part = slides.picture("figures/a.jpg#xywh=percent:1.5,50,97,50")
    assert (whole.name, part) == ("a.jpg", [1.5, 50, 97, 50])


@pytest.mark.parametrize(
    ("page", "words"),
    [("text\n\n# Title\n", "before the first title: text"), ("# Title\n", "no notes: Title")],
)
def test_what_is_missing_is_said(page, words):
    with pytest.raises(UserError, match=words):
        slides.parse(page)


@pytest.mark.parametrize("missing", ["python-pptx", "soffice", "rsvg-convert"])
def test_missing_tools_are_named(missing, run, monkeypatch):
    found = None if missing == "python-pptx" else object()
    monkeypatch.setattr(slides.importlib.util, "find_spec", lambda _: found)
    monkeypatch.setattr(slides.shutil, "which", lambda tool: tool != missing)
    with pytest.raises(UserError, match=f"{missing} is missing"):
        run(slides)


def in_file(root: ElementTree.Element) -> list[str]:
    texts = ("".join(text.text for text in p.iter(f"{A}t")) for p in root.iter(f"{A}p"))
    return sorted(filter(None, map(squeezed, texts)))


def squeezed(text: str) -> str:
    """Without white space: a break in a line is none in the text of its parts."""
    return re.sub(r"\s", "", text)


def test_powerpoint_file_is_made_of_the_page():
    again = "`python -m docs.slides` makes slides.pptx of slides.md"
    with zipfile.ZipFile(slides.DOCS / "slides.pptx") as file:
        names = [name for name in file.namelist() if re.match(r"ppt/slides/slide\d", name)]
        assert len(names) == len(TALK), again
        for number, slide in enumerate(TALK, 1):
            root = ElementTree.fromstring(file.read(f"ppt/slides/slide{number}.xml"))
            texts, expected = in_file(root), sorted(map(squeezed, slides.paragraphs(slide)))
            drawn = {"VGG16", "GoogLeNet", "convolution", "pooling", "linear", "inceptionmodule"}
            if number == 1:
                texts = [text for text in texts if text not in drawn]
            assert texts == expected, again
            notes = ElementTree.fromstring(file.read(f"ppt/notesSlides/notesSlide{number}.xml"))
            assert squeezed(slide.notes) in in_file(notes), again
            shapes = {shape.get("name") for shape in root.iter(f"{P}cNvPr")}
            for block in slide.blocks:
                if block.kind == "picture":
                    assert slides.picture_name(block.lines[0]) in shapes, again


def test_files_are_small_and_the_pdf_is_as_new():
    files = [slides.DOCS / f"slides.{ending}" for ending in ("pptx", "pdf")]
    assert all(file.stat().st_size < 5e6 for file in files)
    assert files[1].read_bytes().count(b"/Type/Page/") == len(TALK)


def test_slides_are_short():
    for slide in TALK:
        assert len(slide.title) <= 62, slide.title
        assert 2 <= len(re.findall(r"[.?!](?= |$)", slide.notes)) <= 4, slide.title
        for block in slide.blocks:
            limit = {"code": 10, "list": 5, "table": 7}.get(block.kind, 6)
            assert len(block.lines or block.rows) <= limit, slide.title


def test_code_on_slides_is_the_code(root):
    files = [*root.glob("*.py"), *root.glob("models/*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    page = slides.SOURCE.read_text(encoding="utf-8")
    for example in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for line in example.splitlines():
            assert line.strip() in code, line


def test_everything_has_room_and_is_large_enough_for_the_back_row(tmp_path, capsys):
    pytest.importorskip("pptx")
    if not shutil.which("rsvg-convert"):
        pytest.skip("no rsvg-convert")
    from docs import slide_layout

    deck = slide_layout.build(TALK, tmp_path)
    assert capsys.readouterr().out == ""
    for number, slide in enumerate(deck.slides, 1):
        sizes = [int(run.get("sz", 9999)) / 100 for run in slide._element.iter(f"{A}rPr")]
        for shape in slide.shapes:
            if ".svg" in shape.name:
                svg = (slides.DOCS / "figures" / shape.name.split()[0]).read_text("utf-8")
                smallest = min(map(float, re.findall(r'<text style="[^"]*?([\d.]+)px', svg)))
                unit = 2500 / float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])  # pixels
                sizes.append(smallest * unit * shape.width.pt / shape.image.size[0])
        assert min(sizes) >= 16, number
