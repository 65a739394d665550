"""Write the tables of README.md and docs/ that are computed or measured.

    python -m docs.tables            # update them
    python -m docs.tables --check    # exit with 1 and name the pages whose tables are stale

A table stands between two comments, which say what makes it, and is written whole:

    <!-- table: training -->
    | training, end to end | images/s | …
    <!-- end -->

paper_tables.py and paper_results.py compute the tables of papers.md from the networks;
result_tables.py, benchmark_tables.py and debugging_results.py read what was recorded and measured
from results/; talk_tables.py shortens some of them for the slides.
"""

import argparse
import re
import sys
from functools import cache
from pathlib import Path

from docs import (
    benchmark_tables,
    debugging_results,
    paper_results,
    paper_tables,
    result_tables,
    talk_tables,
)
from engine import cli

ROOT = Path(__file__).parent.parent
TABLES = paper_tables.TABLES | paper_results.TABLES | result_tables.TABLES
TABLES |= benchmark_tables.TABLES | debugging_results.TABLES | talk_tables.TABLES
START = re.compile(r"^<!-- table: (\S+) -->\n", re.MULTILINE)
CONTENT = re.compile(r"((?:\|.*\n)*)<!-- end -->$", re.MULTILINE)


def pages() -> list[Path]:
    """The pages that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def refresh(text: str) -> str:
    """A page's text with every marked table updated.

    Raises:
        ValueError: there is no function for a table's name, or its end is not marked.
    """
    done, position = "", 0
    for start in START.finditer(text):
        name = start[1]
        content = CONTENT.match(text, start.end())
        if name not in TABLES:
            raise ValueError(f"nothing makes a table called {name}: {', '.join(TABLES)}")
        if not content:
            raise ValueError(f"table {name}: more than a table before its <!-- end -->, or no end")
        done += text[position : content.start(1)] + markdown(name)
        position = content.end(1)
    return done + text[position:]


@cache
def markdown(name: str) -> str:
    """The table of that name, in Markdown."""
    rows = TABLES[name]()
    cells = [[f" {cell} " if cell else " " for cell in row] for row in rows]
    cells.insert(1, ["---"] * len(rows[0]))
    return "".join(f"|{'|'.join(row)}|\n" for row in cells)


def stale() -> dict[Path, str]:
    """The pages with stale tables, and their updated text."""
    found = {}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        refreshed = refresh(text)
        if refreshed != text:
            found[page] = refreshed
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    parser.add_argument("--check", action="store_true", help="write nothing, name stale pages")
    check = parser.parse_args().check
    found = stale()
    for page, text in found.items():
        print(f"{page.relative_to(ROOT).as_posix()}: {'stale' if check else 'written'}")
        if not check:
            page.write_text(text, encoding="utf-8", newline="\n")
    if check and found:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
