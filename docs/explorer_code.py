"""Find the lines of models/*.py that build each row of a network's table, by their syntax trees."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

Lines = list[list[int]]  # first and last line of each piece, counted from 1


class Code:
    """The source of a network. Its file has a table of widths, a class, and the code it calls."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)

    def of_row(self, module: str) -> dict[str, Lines]:
        """The lines that build a module such as "block1.conv1_1", and the code that they call.

        These are its entry in the table, where it is built, and where ``forward`` uses it.
        """
        first, last = module.split(".")[0], module.split(".")[-1]
        lines = self.table_entry(first) + self.statements(first)
        # One layer of several that a statement builds: fc1=nn.Linear(...).
        named = [n for n in ast.walk(self.tree) if isinstance(n, ast.keyword) and n.arg == last]
        if first != last and named:
            inside = span(named[0])
            lines = [inside if a <= inside[0] <= b else [a, b] for a, b in lines]
        called = [node for node in self.definitions() if node.name in self.calls(first)]
        # layers[f"pool{number}"] = ... in a function that builds a block.
        stem = re.match("[a-z]+", last)[0] if first != last and not named else None
        for node in (n for function in called for n in ast.walk(function)) if stem else ():
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                text = ast.unparse(node.targets[0].slice)
                lines += [span(node)] if text.startswith((f"f'{stem}", f'f"{stem}')) else []
        return {"lines": sorted(lines), "calls": sorted(span(node) for node in called)}

    def of_attribute(self, name: str) -> Lines:
        """The statements about ``self.name``, in any class of the file."""
        return sorted(self.statements(name))

    def table_entry(self, name: str) -> Lines:
        """The module's line in the dict at the top: key "block1", or "3a" for inception3a."""
        tables = [node for node in ast.walk(self.tree) if isinstance(node, ast.Dict)]
        return [
            [key.lineno, value.end_lineno]
            for table in tables
            for key, value in zip(table.keys, table.values, strict=True)
            if isinstance(key, ast.Constant) and key.value in (name, name.removeprefix("inception"))
        ]

    def statements(self, name: str) -> Lines:
        return [span(node) for node in self.uses(name)]

    def calls(self, name: str) -> set[str]:
        """The names that the statements about ``self.name`` call."""
        calls = [n for s in self.uses(name) for n in ast.walk(s) if isinstance(n, ast.Call)]
        return {call.func.id for call in calls if isinstance(call.func, ast.Name)}

    def uses(self, name: str) -> Iterator[ast.stmt]:
        """The simple statements of ``__init__`` and ``forward`` that read or set ``self.name``."""
        methods = [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef)]
        methods = [method for method in methods if method.name in ("__init__", "forward")]
        for node in (n for method in methods for n in ast.walk(method)):
            if isinstance(node, ast.Assign | ast.Return | ast.Expr):
                parts = [n for n in ast.walk(node) if isinstance(n, ast.Attribute)]
                if any(p.attr == name and ast.unparse(p.value) == "self" for p in parts):
                    yield node

    def definitions(self) -> list[ast.FunctionDef | ast.ClassDef]:
        kinds = ast.FunctionDef | ast.ClassDef
        return [node for node in self.tree.body if isinstance(node, kinds)]


def span(node: ast.AST) -> list[int]:
    return [
        node.lineno if not isinstance(node, ast.keyword) else node.value.lineno,
        node.end_lineno,
    ]
