"""Make the slides, docs/slides.pptx and docs/slides.pdf, from docs/slides.md.

    pip install python-pptx
    apt-get install libreoffice-impress librsvg2-bin    # or what brings soffice and rsvg-convert
    python -m docs.tables && python -m docs.slides

In slides.md, "#" is the title slide, "##" a part of the talk, "###" a slide, whose title is its
message. Pictures, tables, code, lists and paragraphs become native parts of the slide; a quotation
is what the speaker says. slide_layout.py decides where everything stands, slide_design.py how it
looks.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from engine import cli
from engine.errors import UserError, as_user_error
from engine.files import atomic_write

DOCS = Path(__file__).parent
SOURCE = DOCS / "slides.md"
PDF = '{"UseLosslessCompression":{"type":"boolean","value":"true"}}'  # else white turns grey


@dataclass
class Block:
    """A part of a slide.

    Attributes:
        kind: "picture", "table", "code", "list", "text", or "flow", which is text with arrows.
        lines: of code or text; points of a list; steps of a flow; a picture's path and description.
        rows: of a table, the head first.
    """

    kind: str
    lines: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


@dataclass
class Slide:
    title: str
    part: str = ""  # of the talk; "" on the title slide
    blocks: list[Block] = field(default_factory=list)
    notes: str = ""


def main() -> None:
    argparse.ArgumentParser(description=cli.summary(__doc__)).parse_args()
    if not importlib.util.find_spec("pptx"):
        raise UserError("python-pptx is missing: pip install python-pptx")
    for tool, package in (("soffice", "libreoffice-impress"), ("rsvg-convert", "librsvg2-bin")):
        if not shutil.which(tool):
            raise UserError(f"{tool} is missing: apt-get install {package}")
    from docs import slide_layout  # the tests read slides.md without python-pptx

    slides = parse(SOURCE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        deck = Path(folder, "slides.pptx")
        slide_layout.build(slides, Path(folder)).save(deck)
        command = ["soffice", f"-env:UserInstallation=file://{folder}/profile", "--headless"]
        command += ["--convert-to", f"pdf:impress_pdf_Export:{PDF}", "--outdir", folder, str(deck)]
        with as_user_error(subprocess.CalledProcessError):
            subprocess.run(command, check=True, capture_output=True)
        for name in ("slides.pptx", "slides.pdf"):
            with atomic_write(DOCS / name) as file:
                file.write(Path(folder, name).read_bytes())
            print(DOCS / name)


def parse(text: str) -> list[Slide]:
    """The slides of a Markdown page.

    Raises:
        UserError: a slide has no notes, or there is text before the first title.
    """
    slides, part = [], ""
    for kind, content in chunks(text):
        if kind == "heading":
            level, _, title = content.partition(" ")
            if level == "##":
                part = title
            else:
                slides.append(Slide(title, part))
        elif not slides:
            raise UserError(f"{SOURCE.name}: before the first title: {content[:60]}")
        elif kind == "notes":
            lines = (line.removeprefix(">").strip() for line in content.splitlines())
            slides[-1].notes = " ".join(lines)
        else:
            slides[-1].blocks.append(block(kind, content))
    for slide in slides:
        if not slide.notes:
            raise UserError(f"{SOURCE.name}: no notes: {slide.title}")
    return slides


STARTS = {"#": "heading", ">": "notes", "|": "table", "`": "code", "-": "list"}
STARTS |= dict.fromkeys("<!", "picture")
PARTS = re.compile(r"^(```.*?^```|<picture>.*?</picture>|\S.*?)$(?=\n\n|\n*\Z)", re.M | re.S)


def chunks(text: str) -> list[tuple[str, str]]:
    """The blocks between empty lines, each with its kind; comments are left out."""
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    return [(STARTS.get(content[0], "text"), content) for content in PARTS.findall(text)]


def block(kind: str, content: str) -> Block:
    """A part of a slide from its Markdown."""
    if kind == "picture":
        match = re.search(r'alt="(?P<alt>.*?)" src="(?P<path>.*?)"', content)
        match = match or re.match(r"!\[(?P<alt>.*?)\]\((?P<path>.*?)\)", content)
        return Block(kind, [match["path"], match["alt"]])
    if kind == "table":
        rows = [re.split(r" ?\| ?", line)[1:-1] for line in content.splitlines()]
        return Block(kind, rows=[rows[0], *rows[2:]])
    if kind == "code":
        return Block(kind, content.splitlines()[1:-1])
    if kind == "list":
        points = re.split(r"^- ", content, flags=re.MULTILINE)[1:]
        return Block(kind, [" ".join(point.split()) for point in points])
    text = " ".join(content.split())
    steps = text.split(" → ")
    return Block("flow", steps) if len(steps) > 2 else Block("text", [text])


RUN = re.compile(r"(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))")


def runs(text: str) -> list[tuple[str, str]]:
    """The pieces of a text, each with its kind: "", "code", "bold", or the address of a link."""
    pieces = []
    for piece in filter(None, RUN.split(text)):
        if piece.startswith("`"):
            pieces.append((piece[1:-1], "code"))
        elif piece.startswith("**"):
            pieces.append((piece[2:-2], "bold"))
        elif link := re.fullmatch(r"\[([^\]]+)\]\(([^)]+)\)", piece):
            pieces.append((link[1].strip("`"), link[2]))
        else:
            pieces.append((piece, ""))
    return [(text if kind == "code" else text.replace("'", "’"), kind) for text, kind in pieces]


def plain(text: str) -> str:
    return "".join(piece for piece, _ in runs(text))


def paragraphs(slide: Slide) -> list[str]:
    """All text of a slide, as its paragraphs in the PowerPoint file."""
    texts = [slide.part, plain(slide.title)]
    for part in slide.blocks:
        if part.kind != "picture":
            texts += [line if part.kind == "code" else plain(line) for line in part.lines]
            texts += [plain(cell) for row in part.rows for cell in row]
    return [text for text in texts if text.strip()]


def picture(path: str) -> tuple[Path, list[float]]:
    """A picture's file, and the part to show: left, top, width and height in per cent of it.

    The part follows a "#", in the syntax of W3C's Media Fragments, which GitHub ignores:
    picture.jpg#xywh=percent:0,50,100,50 is the lower half.
    """
    file, _, part = path.partition("#xywh=percent:")
    return DOCS / file, [float(number) for number in (part or "0,0,100,100").split(",")]


def picture_name(path: str) -> str:
    """Names a picture in the file and the version it was made from."""
    file, _ = picture(path)
    content = file.read_bytes().replace(b"\r\n", b"\n")
    return f"{Path(path).name} {zlib.crc32(content):08x}"


if __name__ == "__main__":
    cli.run(main)
