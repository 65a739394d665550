"""The layout of slides (python-pptx). ``python -m docs.slides`` makes them.

All is native: titles and lists in placeholders, tables, code in text boxes, pictures.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pptx
from lxml import etree
from PIL import Image
from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.oxml.ns import qn
from pptx.presentation import Presentation
from pptx.table import _Cell
from pptx.util import Inches, Pt

from docs import slides
from docs.slide_design import (
    ACROSS,
    BOTTOM,
    INK,
    KINDS,
    MARGIN,
    MONO,
    QUIET,
    SMALL,
    TEXT,
    TOP,
    WASH,
    WIDTH,
    design,
    foot,
    inches,
    lines_of,
    put,
    rectangle,
    text_box,
    title_slide,
    write,
)
from docs.slide_pictures import converted
from docs.slides import Block, picture_name, plain

GAP, COLUMN = 0.3, 3.3  # inches: between parts; for text beside a picture, with the space between
CELL, CODE, BIG = 18, 17, 40  # pt, as are TEXT and TITLE
PAD, MARGINS = 0.8, (0.22, 0.06)  # of cells: above and below, in lines; left and right, in inches
SCALES = (1.3, 1.2, 1.1, 1.0)  # text is enlarged as far as there is room
STRETCH = 0.6  # lists and tables may grow by this share of their height to fill a slide
NUMBER = re.compile(r"\**[-+−]?[\d.,]+( ?(%|[KMG]|px|minutes|(to|of|±) [\d.,]+))*\**$|$")
Box = tuple[float, float, float, float]  # left, top, width and height in inches


def build(talk: list[slides.Slide], folder: Path) -> Presentation:
    """The presentation; the folder is for temporary files."""
    deck = pptx.Presentation()
    deck.core_properties.title, deck.core_properties.author = talk[0].title, ""
    title_layout, list_layout, plain_layout = design(deck)
    for number, content in enumerate(talk):
        with_list = any(block.kind == "list" for block in content.blocks)
        layout = title_layout if number == 0 else list_layout if with_list else plain_layout
        slide = deck.slides.add_slide(layout)
        slide.shapes.title.text = plain(content.title)
        slide.notes_slide.notes_text_frame.text = content.notes
        if number == 0:
            title_slide(slide, content.blocks[0].lines[0])
            foot(deck, slide)
            continue
        write(text_box(slide, (MARGIN, 0.28, 8, 0.3)).paragraphs[0], content.part, SMALL, QUIET)
        free = place(slide, content.blocks, folder)
        if free < -0.01 or len(content.title) > 62:
            print(f"slide {number + 1} has too little room: {content.title}")
    return deck


def place(slide: pptx.slide.Slide, blocks: list[Block], folder: Path) -> float:
    """Blocks one below the other, but text to the right of a picture that is not wide.

    Returns:
        inches left at the bottom; below 0 if there is too little room.
    """
    pictures = [block for block in blocks if block.kind == "picture"]
    others = [block for block in blocks if block.kind != "picture"]
    left, width, top, beside = MARGIN, ACROSS, TOP, 0.0
    if pictures:
        path, description = pictures[0].lines
        file = converted(path, folder)
        with Image.open(file) as image:
            ratio = image.width / image.height
        room = BOTTOM - TOP - total(others, width, 1)
        above, beside = min(ACROSS, ratio * room), min(ACROSS - COLUMN, ratio * (BOTTOM - TOP))
        beside = beside if others and beside > above else 0
        wide = beside or above
        x = MARGIN if others else (WIDTH - wide) / 2
        y = TOP if others else TOP + (room - wide / ratio) / 2
        shape = slide.shapes.add_picture(str(file), *map(Inches, (x, y, wide)))
        shape.name = picture_name(path)
        shape._element.nvPicPr.cNvPr.set("descr", description)
        if beside:
            left, width = left + wide + 0.5, width - wide - 0.5
        else:
            top = TOP + wide / ratio + GAP
    below = bool(pictures) and not beside
    scale = 1.0 if below else max(s for s in SCALES if s == 1 or fits(others, width, s))
    spare = BOTTOM - top + GAP - total(others, width, scale)
    for block in others:
        high = height(block, width, scale)
        if block.kind in ("list", "table") and spare > 0 and not pictures:
            high += min(spare, STRETCH * high)  # rows move apart
            spare -= min(spare, STRETCH * high)
        DRAW[block.kind](slide, block, (left, top, width, high), scale)
        top += high + GAP
    return spare


def total(blocks: list[Block], width: float, scale: float) -> float:
    return sum(height(block, width, scale) + GAP for block in blocks)


def fits(blocks: list[Block], width: float, scale: float) -> bool:
    """Whether blocks can be enlarged by this factor: they fit, and get no new line breaks."""
    texts = [block for block in blocks if block.kind not in ("code", "flow")]
    unbroken = all(lines(block, width, scale) == lines(block, width, 1) for block in texts)
    return unbroken and total(blocks, width, scale) <= BOTTOM - TOP


def lines(block: Block, width: float, scale: float) -> list[int]:
    """Estimate the number of lines of each row, point or paragraph."""
    if block.kind == "table":
        widths = column_widths(block, width, scale)
        return [
            max(
                lines_of(*cell) for cell in zip(row, [CELL * scale] * len(row), widths, strict=True)
            )
            for row in block.rows
        ]
    indent = 0.25 if block.kind == "list" else 0
    texts = [re.sub(r"^\*\*.*?\*\* ", "", line) for line in block.lines]
    return [lines_of(line, TEXT * scale, width - indent) for line in texts]


def height(block: Block, width: float, scale: float) -> float:
    """Estimate the height in inches."""
    if block.kind == "flow":
        return 0.75
    if block.kind == "code":
        return len(block.lines) * code_size(block, width, scale) * 1.2 / 72 + 0.4
    count = lines(block, width, scale)
    if block.kind == "table":
        return sum((line * 1.2 + PAD) * CELL * scale / 72 for line in count)
    space = 0.5 * (len(count) - 1) if block.kind == "list" else 0
    callout = 1.2 * BIG * scale if block.lines and block.lines[0].startswith("**") else 0
    return ((1.2 * sum(count) + space) * TEXT * scale + callout) / 72


def column_widths(block: Block, width: float, scale: float) -> list[float]:
    """Column widths of a table without margins: proportional to the text, wide ones reduced."""
    columns = zip(*block.rows, strict=True)
    whole = [max(inches(cell, CELL * scale) for cell in column) * 1.02 for column in columns]
    room, widest = width - sum(MARGINS) * len(whole), max(whole)
    while sum(min(column, widest) for column in whole) > room:
        widest -= 0.05
    widths = [min(column, widest) for column in whole]
    return [column * room / sum(widths) for column in widths]  # as wide as the slide


def code_size(block: Block, width: float, scale: float) -> float:
    """As large as the longest line allows; a letter of Courier is 0.6 of its size wide."""
    return min(CODE * scale, (width - 0.4) * 72 / (0.6 * max(map(len, block.lines))))


def draw_text(slide: pptx.slide.Slide, block: Block, at: Box, scale: float) -> None:
    """A paragraph. One that begins with bold words has them large, on a line of their own."""
    paragraph = text_box(slide, at).paragraphs[0]
    (text,) = block.lines
    if text.startswith("**"):
        number, text = text[2:].split("** ", 1)
        write(paragraph, f"**{number}**", BIG * scale, KINDS["convolution"])
        paragraph._p.add_br()
    write(paragraph, text, TEXT * scale)


def draw_list(slide: pptx.slide.Slide, block: Block, at: Box, scale: float) -> None:
    body = slide.placeholders[1]
    put(body, at)
    apart = 72 * (at[3] - height(block, at[2], scale)) / len(block.lines)
    for number, line in enumerate(block.lines):
        paragraph = body.text_frame.add_paragraph() if number else body.text_frame.paragraphs[0]
        paragraph.space_before, paragraph.space_after = Pt(0), Pt(0.5 * TEXT * scale + apart)
        write(paragraph, line, TEXT * scale)


def draw_code(slide: pptx.slide.Slide, block: Block, at: Box, scale: float) -> None:
    frame = rectangle(slide, at, WASH).text_frame
    frame.word_wrap, frame.vertical_anchor = False, MSO_ANCHOR.MIDDLE
    frame.margin_left = Inches(0.2)
    for number, line in enumerate(block.lines):
        paragraph = frame.add_paragraph() if number else frame.paragraphs[0]
        paragraph.alignment = PP_ALIGN.LEFT
        code, mark, comment = line.partition("#")
        for piece, shade in ((code, INK), (mark + comment, QUIET)):
            if piece:
                run = paragraph.add_run()
                run.text, run.font.name = piece, MONO
                run.font.size = Pt(code_size(block, at[2], scale))
                run.font.color.theme_color = shade


def draw_flow(slide: pptx.slide.Slide, block: Block, at: Box, _scale: float) -> None:
    """Steps in boxes, joined by arrows."""
    left, top, width, high = at
    gap = 0.4
    step_width = (width + gap) / len(block.lines) - gap
    for number, step in enumerate(block.lines):
        x = left + number * (step_width + gap)
        frame = rectangle(slide, (x, top, step_width, high), WASH).text_frame
        frame.margin_left = frame.margin_right = 0
        frame.word_wrap, frame.vertical_anchor = True, MSO_ANCHOR.MIDDLE
        frame.paragraphs[0].alignment = PP_ALIGN.CENTER
        write(frame.paragraphs[0], step, CELL)
        if number:
            arrow = (x - gap + 0.09, top + high / 2 - 0.1, gap - 0.18, 0.2)
            rectangle(slide, arrow, QUIET, MSO_SHAPE.RIGHT_ARROW)


def draw_table(slide: pptx.slide.Slide, block: Block, at: Box, scale: float) -> None:
    """Rules between rows, no boxes; numbers to the right."""
    widths, count = column_widths(block, at[2], scale), lines(block, at[2], scale)
    shape = slide.shapes.add_table(len(count), len(widths), *map(Inches, at))
    table, properties = shape.table, shape._element.graphic.graphicData.tbl.tblPr
    properties.find(qn("a:tableStyleId")).text = "{2D5ABB26-0587-4C30-8999-92F81FD0307C}"  # none
    table.horz_banding = False
    apart = at[3] / height(block, at[2], scale)
    for row, number in zip(table.rows, count, strict=True):
        row.height = Inches((number * 1.2 + PAD) * CELL * scale / 72 * apart)
    for index, cells in enumerate(zip(*block.rows, strict=True)):
        table.columns[index].width = Inches(widths[index] + sum(MARGINS))
        right = index and all(NUMBER.match(text) for text in cells[1:])
        for row, text in enumerate(cells):
            cell = table.cell(row, index)
            cell.vertical_anchor = MSO_ANCHOR.MIDDLE
            cell.margin_left, cell.margin_right = map(
                Inches, MARGINS if index else (0, sum(MARGINS))
            )
            paragraph = cell.text_frame.paragraphs[0]
            paragraph.alignment = PP_ALIGN.RIGHT if right else PP_ALIGN.LEFT
            write(paragraph, text, (CELL if row else CELL - 2) * scale, INK if row else QUIET)
            if row < len(count) - 1:
                rule(cell, 0.5 if row else 1.5)


def rule(cell: _Cell, points: float) -> None:
    """A line below a cell."""
    line = etree.SubElement(cell._tc.get_or_add_tcPr(), qn("a:lnB"), w=str(Pt(points)))
    shade = etree.SubElement(etree.SubElement(line, qn("a:solidFill")), qn("a:schemeClr"))
    shade.set("val", "tx2")


DRAW: dict[str, Callable[[pptx.slide.Slide, Block, Box, float], None]] = {
    "text": draw_text,
    "list": draw_list,
    "code": draw_code,
    "flow": draw_flow,
    "table": draw_table,
}
