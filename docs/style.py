"""The common style of all pictures: colours with a meaning, and drawings for light and dark pages.

No grey has a contrast of 4.5 both on white and on GitHub's dark page: the best has 4.35. So each
drawing is written twice, as NAME.svg and NAME-dark.svg, and a page chooses by <picture>.
"""

import argparse
import inspect
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine import cli
from engine.files import atomic_write
from engine.report import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES, EXAMPLES = (Path(__file__).parent / name for name in ("figures", "examples"))
LIGHT, DARK = (Path(__file__).with_name(f"style{mode}.mplstyle") for mode in ("", "-dark"))
MODES = {"": [LIGHT], "-dark": [LIGHT, DARK]}  # ending of the file's name -> style files
# The meaning of each colour in the style files.
KINDS = (
    "convolution",
    "pooling",
    "linear",
    "concatenation",
    "normalisation",
    "VGG16",
    "GoogLeNet",
)
WIDTH = 830  # px: how wide GitHub shows a page's picture
PX = 1 / 96  # inches
SMALL, NORMAL, LARGE = 9, 9.5, 11  # pt
ON_SLIDES = 1.25  # factor of the text size in drawings that are also on slides
# The reader's fonts; none is wider than DejaVu Sans, with which the layout is computed.
FONTS = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial"


def colour(kind: str, share: float = 1.0) -> tuple[float, ...]:
    """The colour of a kind, "ink" or "muted"; as a fill, mixed with the page by its share."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    named = {"ink": rcParams["text.color"], "muted": rcParams["xtick.color"]}
    full = to_rgb(named[kind] if kind in named else f"C{KINDS.index(kind)}")
    page = to_rgb(rcParams["figure.facecolor"])
    return tuple(share * one + (1 - share) * other for one, other in zip(full, page, strict=True))


def output_folder(doc: str | None) -> Path:
    """The output folder of a drawing program, from its command line; created if necessary."""
    parser = argparse.ArgumentParser(description=cli.summary(doc))
    parser.add_argument(
        "--output-dir", type=Path, default=FIGURES, help="folder to write to (docs/figures)"
    )
    folder = parser.parse_args().output_dir
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def canvas(height: float, letters: float = 1) -> tuple["Figure", "Axes"]:
    """A picture whose coordinates are pixels from the upper left corner.

    Args:
        letters: by how much ``write`` and ``box`` enlarge the text of this picture:
            ``ON_SLIDES`` makes SMALL 16 pt where the picture fills a slide.
    """
    pyplot().rcParams["font.size"] = letters * NORMAL
    figure = pyplot().figure(figsize=(WIDTH * PX, height * PX))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def headline(figure: "Figure", text: str) -> None:
    """The title of a whole picture, at its upper left."""
    place = {"x": 10 / WIDTH, "ha": "left"}
    if figure.get_layout_engine() is None:  # else the layout finds the height
        place |= {"y": 1 - 16 * PX / figure.get_figheight(), "va": "center"}
    figure.suptitle(text, **place)


def write(  # noqa: PLR0913 (where, what, and how it looks)
    axes: "Axes",
    at: tuple[float, float],
    text: str,
    kind: str = "ink",
    size: float = NORMAL,
    align: str = "center",
    bold: bool = False,
) -> None:
    """Text whose middle line is at that height; the first of several lines, if it has them."""
    weight, letters = "bold" if bold else "normal", pyplot().rcParams["font.size"] / NORMAL
    for line, part in enumerate(text.split("\n")):
        place = (at[0], at[1] + 16 * letters * line)
        style = {"color": colour(kind), "fontsize": letters * size, "ha": align, "weight": weight}
        axes.text(*place, part, va="center_baseline", **style)


def box(
    axes: "Axes",
    at: tuple[float, float],
    size: tuple[float, float],
    kind: str,
    lines: Sequence[str] = (),
    share: float = 0.16,
) -> None:
    """A rounded box with lines of text in its middle, the first one bold."""
    from matplotlib.patches import FancyBboxPatch

    (left, top), (width, height) = at, size
    style = {"facecolor": colour(kind, share), "edgecolor": colour(kind), "linewidth": 1}
    shape = "round,pad=0,rounding_size=4"
    axes.add_patch(FancyBboxPatch(at, width, height, boxstyle=shape, **style))
    apart = 16 * pyplot().rcParams["font.size"] / NORMAL
    first = top + height / 2 - apart * (len(lines) - 1) / 2
    for line, text in enumerate(lines):
        bold = line == 0
        write(axes, (left + width / 2, first + apart * line), text, size=SMALL, bold=bold)


def bar(axes: "Axes", at: tuple[float, float], size: tuple[float, float], kind: str) -> None:
    """A full rectangle."""
    axes.add_patch(pyplot().Rectangle(at, *size, facecolor=colour(kind), edgecolor="none"))


def arrow(axes: "Axes", *points: tuple[float, float], head: bool = True) -> None:
    """A line through the points, with a head at its end."""
    style = {"color": colour("muted"), "linewidth": 1.1}
    axes.plot(*zip(*points, strict=True), solid_joinstyle="round", **style)
    if head:
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = 6 * (x1 - x0) / length, 6 * (y1 - y0) / length
        corners = [(x1, y1), (x1 - dx - dy / 2, y1 - dy + dx / 2)]
        corners.append((x1 - dx + dy / 2, y1 - dy - dx / 2))
        axes.add_patch(pyplot().Polygon(corners, color=colour("muted"), linewidth=0))


def save(
    drawing: Callable[..., "Figure"], folder: Path, title: str = "", *arguments: str, name: str = ""
) -> None:
    """Write a drawing for light and for dark pages. The same code writes the same bytes.

    Args:
        title: what the drawing is given first, before the arguments. Without it the drawing takes
            nothing, and the first line of its docstring is the title.
        name: of the file, where it is not that of the function.
    """
    plt = pyplot()
    arguments = (title, *arguments) if title else ()
    title = title or inspect.getdoc(drawing).split("\n")[0]
    metadata = {"Title": title, **dict.fromkeys(("Date", "Format", "Type"))}
    for ending, sheets in MODES.items():
        with plt.style.context(sheets, after_reset=True):
            figure, svg = drawing(*arguments), io.StringIO()
            figure.savefig(svg, format="svg", metadata=metadata)
            plt.close(figure)
        path = folder / f"{name or drawing.__name__}{ending}.svg"
        with atomic_write(path, "w") as file:
            file.write(svg.getvalue().replace("'DejaVu Sans'", FONTS))
        print(path)


def save_pixels(figure: "Figure", path: Path) -> None:
    """Write a picture of photos or maps, PNG or JPEG, on a white ground that any page can hold."""
    kind = path.suffix.removeprefix(".")
    options = {"quality": 90, "subsampling": 0} if kind == "jpg" else {}  # no blur around text
    with atomic_write(path) as file:
        figure.savefig(
            file, format=kind, dpi=144, transparent=False, facecolor="white", pil_kwargs=options
        )
    pyplot().close(figure)
    print(path)
