"""Convert the pictures of docs/slides.md for PowerPoint (docs/slide_layout.py)."""

import subprocess
from pathlib import Path

from PIL import Image, ImageOps

from docs import slides


def converted(path: str, folder: Path) -> Path:
    """A picture for PowerPoint: a drawing as PNG without margins, photos as JPEG."""
    source, part = slides.picture(path)
    if source.suffix != ".svg":
        target = folder / f"{source.stem}.jpg"
        with Image.open(source) as image:
            left, top, width, height = part
            corners = (left, top, left + width, top + height)
            shown = image.crop([round(c / 100 * image.size[i % 2]) for i, c in enumerate(corners)])
            shown.convert("RGB").save(target, quality=92)
        return target
    target = folder / f"{source.stem}.png"
    command = ["rsvg-convert", "--width=2500", "--background-color=white"]  # 200 an inch
    subprocess.run([*command, f"--output={target}", str(source)], check=True)
    with Image.open(target) as image:
        drawn = image.convert("RGB")
    drawn.crop(ImageOps.invert(drawn).getbbox()).save(target, optimize=True)
    return target
