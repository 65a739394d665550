"""The pictures of docs/slides.md as PowerPoint takes them, for docs/slide_layout.py."""

import re
import subprocess
from pathlib import Path

from PIL import Image, ImageOps

from docs import slides

LETTERS = {  # drawings made for a page: by how much their text can grow, for the back of the room
    "vgg16": 1.12,
    "two_3x3_are_one_5x5": 1.3,
    "inception": 1.2,
    "naive_reduced": 1.3,
    "parameters_macs": 1.12,
}


def converted(path: str, folder: Path) -> Path:
    """A picture as PowerPoint takes it: PNG of a drawing, without its margins; JPEG of photos."""
    source, part = slides.picture(path)
    if source.suffix != ".svg":
        target = folder / f"{source.stem}.jpg"
        with Image.open(source) as image:
            left, top, width, height = part
            corners = (left, top, left + width, top + height)
            shown = image.crop([round(c / 100 * image.size[i % 2]) for i, c in enumerate(corners)])
            shown.convert("RGB").save(target, quality=92)
        return target
    target, drawing = folder / f"{source.stem}.png", folder / source.name
    factor = LETTERS.get(source.stem, 1)
    drawing.write_text(with_letters(source.read_text("utf-8"), factor), encoding="utf-8")
    command = ["rsvg-convert", "--width=2500", "--background-color=white"]  # 200 an inch
    subprocess.run([*command, f"--output={target}", str(drawing)], check=True)
    with Image.open(target) as image:
        drawn = image.convert("RGB")
    drawn.crop(ImageOps.invert(drawn).getbbox()).save(target, optimize=True)
    return target


def with_letters(svg: str, factor: float) -> str:
    """A drawing with larger text, its lines in the middle of where they were."""

    def enlarged(text: re.Match) -> str:
        size = float(text["size"])
        down = 0.36 * (factor - 1) * size  # half of what a capital grows
        return f'{text["before"]}{factor * size:g}px{text["between"]}y="{float(text["y"]) + down}"'

    pattern = r'(?P<before><text style="[^"]*font-size: )(?P<size>[\d.]+)px(?P<between>[^>]*?)'
    pattern += r'y="(?P<y>[\d.]+)"'
    return re.sub(pattern, enlarged, svg) if factor != 1 else svg
