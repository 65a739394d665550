"""The look of the slides: theme, master, title slide, and how text is written (python-pptx).

Colours and fonts are those of the theme, so that PowerPoint changes them everywhere at once.
"""

import re

from lxml import etree
from pptx.enum.dml import MSO_THEME_COLOR as THEME
from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR, MSO_AUTO_SIZE, PP_ALIGN
from pptx.opc.constants import RELATIONSHIP_TYPE
from pptx.oxml.ns import qn
from pptx.presentation import Presentation
from pptx.shapes.base import BaseShape
from pptx.slide import Slide, SlideLayout
from pptx.text.text import TextFrame, _Paragraph
from pptx.util import Inches, Pt
from torch import nn

from docs.networks import on_meta, outputs
from docs.number_drawings import kind_of
from docs.slides import runs
from docs.style import LIGHT, colour
from engine.report import pyplot
from models.googlenet import GoogLeNet
from models.vgg16 import VGG16

WIDTH, HEIGHT, MARGIN = 13.333, 7.5, 0.6  # inches
ACROSS = WIDTH - 2 * MARGIN
TOP, BOTTOM = 1.45, 6.8  # inches: the vertical range of the parts under the title
FONT, MONO = "Arial", "Courier New"  # or Liberation, which is as wide
TITLE, TEXT, SMALL = 28, 20, 16  # pt
LETTERS = {  # of Arial, by their width in ems; all others are 0.556 wide
    0.22: "ijl'’|",
    0.29: " ft.,:;/I!()[]-r",
    0.5: "ckvxyzJ",
    0.7: "ABCDEKPRSTUVXYNHw",
    0.85: "mM%WGOQ",
}
EMS = {letter: width for width, letters in LETTERS.items() for letter in letters}
INK, QUIET, WASH = THEME.TEXT_1, THEME.TEXT_2, THEME.BACKGROUND_2
KINDS = {
    "convolution": THEME.ACCENT_1,
    "pooling": THEME.ACCENT_2,
    "linear": THEME.ACCENT_3,
    "concatenation": THEME.ACCENT_4,
}
FOOTERS = (13, 15, 16)  # slide number, footer and date, as types of placeholders


def design(deck: Presentation) -> list[SlideLayout]:
    """Adapt python-pptx's template; return the layouts: title slide, with list, without list."""
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    master = deck.slide_master
    theme = master.part.part_related_by(RELATIONSHIP_TYPE.THEME)
    theme._blob = themed(theme.blob.decode("utf-8")).encode("utf-8")
    layouts = [deck.slide_layouts[number] for number in (0, 1, 5)]
    for layout in list(deck.slide_layouts):
        if layout not in layouts:
            deck.slide_layouts.remove(layout)
    for owner in (master, *layouts):
        for shape in list(owner.placeholders):
            if shape.placeholder_format.type in FOOTERS:
                shape._element.getparent().remove(shape._element)
    titles, bodies = master.element.find(qn("p:txStyles"))[:2]
    for style, size, bold in ((titles, TITLE, "1"), (bodies, TEXT, "0")):
        level = style.find(qn("a:lvl1pPr"))
        level.set("algn", "l")
        run = level.find(qn("a:defRPr"))
        run.set("sz", str(100 * size))
        run.set("b", bold)
    level.set("marL", "228600")  # a quarter of an inch, for the bullet
    level.set("indent", "-228600")
    put(master.placeholders[0], (MARGIN, 0.6, ACROSS, 0.6))
    put(master.placeholders[1], (MARGIN, TOP, ACROSS, BOTTOM - TOP))
    first = layouts[0]
    first.element.set("showMasterSp", "0")
    title, subtitle = first.placeholders
    put(title, (MARGIN, 0.5, ACROSS, 0.9), MSO_ANCHOR.BOTTOM)
    put(subtitle, (MARGIN, 1.5, ACROSS, 0.5))
    for shape, size in ((title, 44), (subtitle, TEXT)):
        style = shape._element.txBody.find(qn("a:lstStyle"))
        style.clear()
        level = etree.SubElement(style, qn("a:lvl1pPr"), marL="0", indent="0", algn="l")
        etree.SubElement(level, qn("a:buNone"))
        etree.SubElement(level, qn("a:defRPr"), sz=str(100 * size))
    return layouts


def themed(xml: str) -> str:
    """The theme with the colours of docs/style.mplstyle, and our font."""
    names = {"dk1": "ink", "dk2": "muted", "hlink": "convolution", "folHlink": "linear"}
    names |= {f"accent{number}": kind for number, kind in enumerate(KINDS, 1)}
    names |= {"accent5": "VGG16", "accent6": "normalisation"}
    with pyplot().style.context([LIGHT]):
        shades = {slot: colour(name) for slot, name in names.items()}
        shades |= {"lt1": colour("ink", 0), "lt2": colour("muted", 0.08)}
    for slot, shade in shades.items():
        value = "".join(f"{round(255 * part):02X}" for part in shade)
        new = f'<a:{slot}><a:srgbClr val="{value}"/></a:{slot}>'
        xml = re.sub(rf"<a:{slot}>.*?</a:{slot}>", new, xml, flags=re.DOTALL)
    return re.sub(r'<a:latin typeface="[^"]*"', f'<a:latin typeface="{FONT}"', xml)


def put(shape: BaseShape, at: tuple[float, ...], anchor: MSO_ANCHOR = MSO_ANCHOR.TOP) -> None:
    """Place a shape with text, at left, top, width and height in inches, with no margin inside."""
    shape.left, shape.top, shape.width, shape.height = map(Inches, at)
    frame = shape.text_frame
    frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = 0
    frame.vertical_anchor, frame.auto_size, frame.word_wrap = anchor, MSO_AUTO_SIZE.NONE, True


def text_box(slide: Slide, at: tuple[float, ...], anchor: MSO_ANCHOR = MSO_ANCHOR.TOP) -> TextFrame:
    box = slide.shapes.add_textbox(0, 0, 0, 0)
    put(box, at, anchor)
    return box.text_frame


def rectangle(
    slide: Slide, at: tuple[float, ...], shade: THEME, form: MSO_SHAPE = MSO_SHAPE.RECTANGLE
) -> BaseShape:
    """A shape in one colour, without outline and shadow."""
    shape = slide.shapes.add_shape(form, *map(Inches, at))
    shape._element.remove(shape._element.find(qn("p:style")))
    shape.fill.solid()
    shape.fill.fore_color.theme_color = shade
    shape.line.fill.background()
    return shape


def write(paragraph: _Paragraph, text: str, size: float, shade: THEME = INK) -> None:
    """A paragraph with its code, bold words and links."""
    for piece, kind in runs(text):
        run = paragraph.add_run()
        run.text, run.font.size = piece, Pt(size)
        run.font.color.theme_color = shade
        if kind == "bold":
            run.font.bold = True
        elif kind == "code":
            run.font.name, run.font.size = MONO, Pt(0.95 * size)
        elif kind.startswith("http"):
            run.hyperlink.address = kind


def inches(text: str, size: float) -> float:
    """Estimate a line's width: bold letters are wider, all letters of Courier equally wide."""
    ems = 0.0
    for piece, kind in runs(text):
        arial = sum(EMS.get(letter, 0.556) for letter in piece)
        ems += 0.57 * len(piece) if kind == "code" else 1.08 * arial if kind == "bold" else arial
    return ems * size / 72


def lines_of(text: str, size: float, width: float) -> int:
    """Estimate how many lines a text takes in a box of this width in inches."""
    return max(1, -int(-inches(text, size) // width))


def title_slide(slide: Slide, subtitle: str) -> None:
    write(slide.placeholders[1].text_frame.paragraphs[0], subtitle, TEXT)
    for bottom, network in ((4.1, VGG16), (6.0, GoogLeNet)):
        skyline(slide, network, bottom)
        name = text_box(slide, (MARGIN, bottom + 0.08, 3, 0.35))
        write(name.paragraphs[0], network.__name__, 18)
    left = MARGIN
    for name, shade in KINDS.items():
        rectangle(slide, (left, 6.94, 0.2, 0.2), shade)
        name = {"concatenation": "inception module"}.get(name, name)
        frame = text_box(slide, (left + 0.3, 6.86, 2.2, 0.36), MSO_ANCHOR.MIDDLE)
        write(frame.paragraphs[0], name, 18, QUIET)
        left += 0.75 + inches(name, 18)


def skyline(slide: Slide, network: type[nn.Module], bottom: float) -> None:
    """A network as bars: height, the square root of the map's side; width, its channels."""
    model, left = on_meta(network), MARGIN
    for name, shape in outputs(network).items():
        part = model.get_submodule(name)
        kind = kind_of(part)
        in_module = "inception" in name and kind != "concatenation"
        whole = kind == "convolution" and not isinstance(part, nn.Conv2d)
        if not (in_module or whole or kind == "normalisation"):
            side, width = (shape[1], shape[0] / 930 + 0.08) if len(shape) == 3 else (80, 0.16)
            high = side**0.5 / 9
            rectangle(slide, (left, bottom - high, width, high), KINDS[kind])
            left += width + 0.06


def foot(deck: Presentation, slide: Slide) -> None:
    """The four colours and the slide's number at the foot of the master.

    Args:
        slide: makes the shapes, which python-pptx cannot do on a master.
    """
    before = set(slide.shapes._spTree)
    for number, shade in enumerate(KINDS.values()):
        rectangle(slide, (MARGIN + 0.16 * number, 7.1, 0.12, 0.12), shade)
    paragraph = text_box(slide, (WIDTH - MARGIN - 1, 7.02, 1, 0.28)).paragraphs[0]
    paragraph.alignment = PP_ALIGN.RIGHT
    write(paragraph, "0", SMALL, QUIET)
    field = paragraph._p.find(qn("a:r"))
    field.tag = qn("a:fld")
    field.set("id", "{B6F15528-21DE-4FAA-801E-634DDDAF4B2B}")
    field.set("type", "slidenum")
    for number, shape in enumerate([s for s in slide.shapes._spTree if s not in before], 100):
        shape.xpath(".//p:cNvPr")[0].set("id", str(number))
        deck.slide_master.shapes._spTree.append(shape)
