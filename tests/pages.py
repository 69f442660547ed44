"""Pages of documentation, read: their blocks, the files that these are, their commands and links."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "configs" / "README.md", ROOT / "rewards" / "README.md", ROOT / "SECURITY.md"]


@dataclass(frozen=True)
class Block:
    """What stands between fences."""

    kind: str
    """`bash`, `python`, `yaml`, ..."""
    text: str
    path: str | None
    """The file that it is: named in a comment on its first line, or in backticks at the end of the text before it."""


def blocks_of(page: Path) -> list[Block]:
    """Those of a page, in order."""
    found = []
    pieces = re.split(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for before, kind, text in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=False):
        first = re.match(r"# ([\w./-]+\.\w+)\n", text)
        named = re.search(r"`([\w./-]+\.\w+)`:\s*$", before)
        path = first or named
        found.append(Block(kind=kind, text=text, path=path[1] if path else None))
    return found


def commands_of(block: Block) -> list[str]:
    """The lines of a block of commands; a backslash goes on."""
    return [line.strip() for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


def links_of(page: Path) -> list[str]:
    """Where the page points to, without blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def codes_of(page: Path) -> list[str]:
    """What stands in backticks in its sentences and tables."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


def tables_of(page: Path) -> list[list[list[str]]]:
    """Each table as rows of cells, its head first and its rule left out."""
    tables: list[list[list[str]]] = []
    before = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            if not re.fullmatch(r"[|\s:-]+", line):
                tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return tables
