"""Who imports whom: three floors, imports run down only."""

import ast
from collections.abc import Iterator
from pathlib import Path

GROUND = {"engine.errors", "engine.files"}
OURS = ("data", "engine", "models", "docs", "tests")


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def test_models_import_torch_and_each_other(root):
    standard = {"argparse", "collections", "contextlib", "functools", "importlib", "inspect"}
    standard |= {"re", "signal", "typing"}
    for path in (root / "models").glob("*.py"):
        for name in imports(path):
            assert is_below(name, "torch", "models", *standard), f"{path.name} imports {name}"


def test_data_imports_nothing_of_ours_but_the_ground(root):
    for path in (root / "data").glob("*.py"):
        for name in imports(path):
            allowed = not is_below(name, *OURS) or is_below(name, "data", *GROUND)
            assert allowed, f"{path.name} imports {name}"


def test_engine_knows_no_model_and_no_dataset(root):
    for path in (root / "engine").glob("*.py"):
        knows_all = path.name in ("inference.py", "explain.py")
        for name in imports(path):
            own = is_below(name, "engine", *(("data", "models") if knows_all else ()))
            assert own or not is_below(name, *OURS), f"{path.name} imports {name}"
            if path.stem in ("errors", "files", "seeding"):
                assert not is_below(name, *OURS), f"{path.name} imports {name}"


def test_no_script_imports_another(root):
    scripts = [path.stem for path in root.glob("*.py")]
    assert len(scripts) == 6
    packages = [root / name for name in ("data", "engine", "models")]
    for path in [*root.glob("*.py"), *(p for package in packages for p in package.glob("*.py"))]:
        for name in imports(path):
            assert not is_below(name, *scripts, "docs", "tests"), f"{path.name} imports {name}"
