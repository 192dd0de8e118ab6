"""Make tree: draw the package with a caption per module, taken from the first line of its docstring.

python tools/make_tree.py                     print it
python tools/make_tree.py --write README.md   put it between the markers of a file
python tools/make_tree.py --check README.md   1 when the file holds another tree
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "kincast"
BEGIN = "<!-- tree: written by `make tree` -->"
END = "<!-- end of tree -->"
WIDTH = 118


def caption(path: Path) -> str:
    """First line of a module's docstring, without its own name in front and the stop behind.

    Raises:
        SystemExit: there is no docstring.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{path}: needs a docstring; its first line is the caption in the tree")
    line = docstring.splitlines()[0].rstrip(".")
    name = path.parent.name if path.stem == "__init__" else path.stem
    head, colon, rest = line.partition(": ")
    plain = head.lower().replace(" ", "_")
    if colon and plain in (name, f"{name}s", name.rstrip("s")):
        return rest
    is_name = any(letter.isupper() for letter in line.split()[0][1:])  # such as PostgreSQL
    return line if is_name else line[0].lower() + line[1:]


def draw(package: Path = PACKAGE) -> str:
    """The tree as text: packages and their modules, folders last."""
    rows: list[tuple[str, str]] = [(f"{package.parent.name}/{package.name}/", caption(package / "__init__.py"))]
    _draw(package, "", rows)
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(_clip(f"{name:<{width}}{text}") for name, text in rows)


def _draw(folder: Path, indent: str, rows: list[tuple[str, str]]) -> None:
    modules = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
    packages = sorted(path.parent for path in folder.glob("*/__init__.py"))
    children = [*modules, *packages]
    for child in children:
        last = child == children[-1]
        name = f"{child.name}/" if child.is_dir() else child.name
        rows.append((f"{indent}{'└── ' if last else '├── '}{name}", caption(_docstring_file(child))))
        if child.is_dir():
            _draw(child, indent + ("    " if last else "│   "), rows)


def _docstring_file(path: Path) -> Path:
    return path / "__init__.py" if path.is_dir() else path


def _clip(line: str) -> str:
    return line if len(line) <= WIDTH else line[: line.rfind(" ", 0, WIDTH - 1)] + " …"


def with_tree(text: str, tree: str) -> str:
    """The text with the block between the markers replaced.

    Raises:
        SystemExit: the markers are missing.
    """
    if BEGIN not in text or END not in text:
        raise SystemExit(f"the file needs the two lines\n{BEGIN}\n{END}")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n```text\n{tree}\n```\n{END}{tail}"


def main() -> int:
    """Print, write or check the tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--check", type=Path, metavar="FILE")
    options = parser.parse_args()
    tree = draw()
    if not (options.write or options.check):
        print(tree)
        return 0
    path: Path = options.write or options.check
    old = path.read_text(encoding="utf-8")
    new = with_tree(old, tree)
    if options.write:
        path.write_text(new, encoding="utf-8")
    elif old != new:
        print(f"{path}: the tree is not the package's; run `make tree`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
