"""The project's own tools find what is too large, and what no longer says what the code says."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def load() -> Callable[[str], ModuleType]:
    """Gives a program of ``tools/`` as a module."""

    def by_name(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return by_name


def _found(load: Callable[[str], ModuleType], text: str) -> list[str]:
    return [str(excess) for excess in load("check_budgets").check_source(text, "x.py")]


def test_small_code_passes(load: Callable[[str], ModuleType]) -> None:
    assert _found(load, "def f(a, b):\n    return a\n") == []


def test_long_files_functions_and_classes_are_found(load: Callable[[str], ModuleType]) -> None:
    body = "    x = 1\n" * 61
    assert _found(load, f"def f():\n{body}") == ["x.py:1: the length of f is 62, the limit 60"]
    assert _found(load, "class C:\n" + "    x = 1\n" * 300) == ["x.py:1: the length of C is 301, the limit 300"]
    assert _found(load, "x = 1\n" * 501) == ["x.py:1: the number of lines is 501, the limit 500"]


def test_self_does_not_count_as_an_argument(load: Callable[[str], ModuleType]) -> None:
    eight, nine = (", ".join(f"a{i}" for i in range(n)) for n in (8, 9))
    assert _found(load, f"class C:\n    def f(self, {eight}): ...\n") == []
    assert _found(load, f"def f({nine}): ...\n") == ["x.py:1: the number of arguments of f is 9, the limit 8"]


def test_a_reason_in_the_file_excuses(load: Callable[[str], ModuleType]) -> None:
    body = "    x = 1\n" * 61
    assert _found(load, f"def f():  # over budget: one long table\n{body}") == []
    assert _found(load, f"def f():  # over budget:\n{body}") != []


def test_deep_inheritance_is_found_and_exceptions_are_not(load: Callable[[str], ModuleType]) -> None:
    check = load("check_budgets").check_inheritance
    chain = "class A(Base): ...\nclass B(A): ...\nclass C(B): ...\n"
    assert [excess.value for excess in check({"x.py": chain})] == [3]
    assert list(check({"x.py": chain.replace("C(B)", "CError(B)")})) == []
    assert list(check({"x.py": "class A(Protocol): ...\nclass B(A): ...\n"})) == []


def test_captions_come_from_the_first_line_without_the_name(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    caption = load("make_tree").caption
    path = tmp_path / "clock.py"
    path.write_text('"""Clock: instants and spans."""\n')
    assert caption(path) == "instants and spans"
    path.write_text('"""Tells the time: roughly."""\n')
    assert caption(path) == "tells the time: roughly"
    path.write_text("x = 1\n")
    with pytest.raises(SystemExit, match="needs a docstring"):
        caption(path)


def test_the_tree_replaces_only_its_block(load: Callable[[str], ModuleType]) -> None:
    tree = load("make_tree")
    text = f"before\n{tree.BEGIN}\nold\n{tree.END}\nafter\n"
    new = tree.with_tree(text, "new")
    assert new == f"before\n{tree.BEGIN}\n```text\nnew\n```\n{tree.END}\nafter\n"
    with pytest.raises(SystemExit, match="two lines"):
        tree.with_tree("nothing", "new")


def test_the_readme_and_the_reference_say_what_the_code_says(load: Callable[[str], ModuleType]) -> None:
    tree, settings = load("make_tree"), load("make_settings")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tree.with_tree(readme, tree.draw()) == readme, "run `make tree`"
    assert settings.PATH.read_text(encoding="utf-8") == settings.reference(), "run `make reference`"
