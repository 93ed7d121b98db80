"""The fenced blocks of the documentation, with their marks.

The line before a block says what becomes of it in the tests, if it cannot run there as typed:

    <!-- needs: ROS distribution -->                  only its programs, options and names are checked
    <!-- covered by: test/system/test_demo.py -->     the same, and another test does what it says
"""

import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(page for page in (CHECKOUT / "docs").rglob("*.md") if page.parent.name != "reference"),
]
NEEDS = ("ROS distribution", "robot", "Jetson", "GPU")

_MARK = r"(?:<!-- (needs|covered by): ([^\n]+) -->\n *)?"
_BLOCK = re.compile(rf"^ *{_MARK}```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ANY_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is "needs", "covered by" or empty, `reason` what stands behind it."""

    page: Path
    name: str
    mark: str
    reason: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            page,
            f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}",
            found[1] or "",
            found[2] or "",
            *found.group(3, 4),
        )
        for found in _BLOCK.finditer(text)
    ]


def code_spans(page: Path) -> list[str]:
    """The pieces of code in the text, outside fenced blocks."""
    prose = _ANY_BLOCK.sub("", page.read_text())
    return [" ".join(span.split()) for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", prose)]
