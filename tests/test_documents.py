"""README.md and docs/: their links, commands, names of code and examples hold."""

import ast
import importlib
import inspect
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from docs.tables import ROOT, pages

PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in pages()}
EACH_PAGE = pytest.mark.parametrize("name", PAGES)
LINK = re.compile(r"\[((?:`[^`]*`|[^\]\[`])*)\]\(([^()\s]+)\)")
TEST_COMMAND = re.compile(r'python -m pytest (tests/\w+\.py) -k (?:(\w+)|"([\w ]+)")')


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\(.*?\)|\[", "", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@EACH_PAGE
def test_links_lead_somewhere(name):
    for _, target in LINK.findall(without_code(PAGES[name])):
        path, _, anchor = target.partition("#")
        if target.startswith(("https://", "http://", "//")):
            continue
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor and file.suffix == ".md":  # of the explorer: test_explorer_views.py
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


@EACH_PAGE
def test_names_that_link_to_code_are_there(name):
    """[`Class.attribute`](file.py), [`TABLE["key"]`](file.py): no line numbers to keep right."""
    for text, target in LINK.findall(without_code(PAGES[name])):
        symbol = re.fullmatch(r'`(\w+)(?:\["(\w+)"\])?(?:\.(\w+))?`', text)
        if not (target.endswith(".py") and symbol) or text.strip("`") in target:
            continue
        path = ((ROOT / name).parent / target).resolve().relative_to(ROOT.resolve())
        module = importlib.import_module(".".join(path.with_suffix("").parts))
        item, key, attribute = getattr(module, symbol[1]), symbol[2], symbol[3]
        assert key is None or key in item, text
        if attribute and not hasattr(item, attribute):  # one of the instances' attributes
            assert re.search(rf"\bself\.{attribute}\b", inspect.getsource(item)), text
    assert not re.search(r"\.py:\d", PAGES[name]), "a line number, which the next edit makes wrong"


def selects(expression: str, names: list[str]) -> bool:
    """Whether each alternative of a -k expression selects a test of those names."""
    return all(any(word in name for name in names) for word in expression.split(" or "))


@EACH_PAGE
def test_commands_select_tests(name):
    commands = re.findall(r"python -m pytest tests/[^`\n]*", PAGES[name])
    for command in commands:
        match = TEST_COMMAND.fullmatch(command)
        assert match, command
        tree = ast.parse((ROOT / match[1]).read_text(encoding="utf-8"))
        tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        tests = [test for test in tests if test.startswith("test_")]
        assert selects(match[2] or match[3], tests), command


@EACH_PAGE
def test_commands_run_files_that_are_there(name):
    """Scripts, modules and options; each in a block for the shell or between backticks."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGES[name], re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(python [^`]+)`", PAGES[name])
    for line in lines:
        for command in re.split(r"&&|\|", line):
            words = shlex.split(command)
            if "python" not in words[:1]:
                continue
            if words[1] == "-m":
                file = ROOT / words[2].replace(".", "/")
                ours = words[2].split(".")[0] in ("docs", "models", "engine", "tests")
                assert not ours or file.is_dir() or file.with_suffix(".py").is_file(), line
                continue
            source = (ROOT / words[1]).read_text(encoding="utf-8")
            source += (ROOT / "engine" / "cli.py").read_text(encoding="utf-8")
            for option in re.findall(r" (--[a-z-]+)", command):
                assert f'"{re.sub("^--no-", "--", option)}"' in source, line


@EACH_PAGE
def test_files_named_in_passing_are_there(name):
    for path in re.findall(r"`([\w.-]+/[\w./-]+\.\w+)`", PAGES[name]):
        if "best.pth" not in path:  # what a run writes
            assert (ROOT / path).is_file() or (ROOT / "docs" / path).is_file(), path


def tree_of(text: str) -> list[str]:
    """The paths in the tree of the repository."""
    (block,) = re.findall(r"^```text\n(train_fashionmnist\.py .*?)^```$", text, re.M | re.S)
    paths, folder = [], ""
    for line in block.splitlines():
        name = line.split()[0]
        folder = name if not line.startswith(" ") and name.endswith("/") else folder
        paths.append(folder + name if line.startswith(" ") else name)
    return paths


def test_tree_of_the_repository_is_whole():
    listed = tree_of(PAGES["docs/code.md"])
    assert [path for path in listed if not (ROOT / path).exists()] == []
    code = [
        *ROOT.glob("*.py"),
        *(f for d in ("models", "data", "engine", "docs") for f in ROOT.glob(f"{d}/*.py")),
    ]
    code = {path.relative_to(ROOT).as_posix() for path in code if path.name != "__init__.py"}
    assert code - set(listed) == set()


def test_example_of_the_own_program_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGES["docs/code.md"], re.M | re.S)
    (checkpoint,) = re.findall(r'"(checkpoints/.+?)"', example)
    (photo,) = re.findall(r'"([\w.]+\.jpg)"', example)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(ROOT / checkpoint, tmp_path / checkpoint)
    noise = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / photo)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/code.md", "exec"), {})
    lines = re.findall(r"^(\w+): (\d+\.\d)%$", capsys.readouterr().out, re.MULTILINE)
    assert {name for name, _ in lines} == {"Cat", "Dog"}
    assert sum(float(share) for _, share in lines) == pytest.approx(100, abs=0.11)
