"""Every code block of the README and of docs/ runs, from an empty directory, in the order it is written."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from kincast.cli.main import main

pytestmark = pytest.mark.journey

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block, with the comment that stands right before it."""

    mark: str
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found = _BLOCK.finditer(path.read_text(encoding="utf-8"))
    return [Block(match["mark"] or "", match["language"], match["text"]) for match in found]


def _run(block: Block, names: dict[str, object]) -> None:
    if block.language == "python":
        exec(compile(block.text, "a code block", "exec"), names)
    elif block.language == "console":
        for line in block.text.splitlines():
            assert line.startswith("$ kincast "), f"a console block holds commands only: {line}"
            words = shlex.split(line.removeprefix("$ kincast "))
            assert main(words) == 0, line
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
        if block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.text, encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names: dict[str, object] = {"__name__": "document"}
    for block in blocks(path):
        if not block.mark.startswith("not run: "):
            _run(block, names)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_is_of_a_kind_that_runs_or_says_why_not(path: Path) -> None:
    for block in blocks(path):
        runs = block.language in ("python", "console", "yaml")
        shown = block.language == "text" or block.text.startswith("make ")
        assert runs or shown or block.mark.startswith("not run: "), block.text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
