"""What stands in README.md and docs/*.md: fenced blocks with their marks, commands, code spans, links and headings.

A block of commands says in an HTML comment on the line before it what becomes of it in the tests:

    <!-- needs: ROS distribution -->            it cannot run here; its options and names are checked all the same
    <!-- covered by: test/ros/test_demo.py -->  another test does the same (`::test_name` may follow the file)
    no mark                                     test_docs_commands.py executes it
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
ALL_PAGES = [*DOCUMENTS, CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "CHANGELOG.md"]
NEEDS = ("ROS distribution", "robot", "Jetson", "GPU", "data and hours")

_FENCE = re.compile(r"^ *```(\w*)$")
_MARK = re.compile(r"^ *<!-- (needs|covered by): (.+) -->$")
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its text, and its mark (kind and what it says), if any."""

    page: Path
    line: int
    language: str
    text: str
    mark: tuple[str, str] | None

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        return commands(self.text)


def blocks(page: Path) -> list[Block]:
    found, lines, number = [], page.read_text().splitlines(), 0
    while number < len(lines):
        if opening := _FENCE.match(lines[number]):
            end = next(n for n in range(number + 1, len(lines)) if _FENCE.match(lines[n]))
            mark = _MARK.match(lines[number - 1]) if number else None
            text = "\n".join(lines[number + 1 : end])
            found.append(Block(page, number + 1, opening[1], text, mark and (mark[1], mark[2])))
            number = end
        number += 1
    return found


def commands(text: str) -> list[list[str]]:
    """The words of every command of a piece of shell, without comments; `$NAME` of its own assignments is filled in."""
    found, variables = [], {}
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&|;"):
                if len(words) == 1 and (assigned := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
                    variables[assigned[1]] = assigned[2]
                elif words:
                    found.append(words)
                words = []
            elif word[0] == "$" and word[1:] in variables:
                words += shlex.split(variables[word[1:]])
            else:
                words.append(word)
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    inside, kept = False, []
    for line in page.read_text().splitlines():
        inside ^= bool(_FENCE.match(line))
        if not inside and not _FENCE.match(line):
            kept.append(line)
    return "\n".join(kept)


def code_spans(page: Path) -> list[str]:
    return [re.sub(r"\s+", " ", span) for span in _SPAN.findall(prose(page))]


def links(page: Path) -> list[str]:
    return _LINK.findall(_SPAN.sub("", prose(page)) + "\n" + "\n".join(_titles(page)))


def anchors(page: Path) -> set[str]:
    """The names by which headings are linked to, made as GitHub makes them."""
    found: set[str] = set()
    for title in _titles(page):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        repeated = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{repeated}" if slug in found else slug)
    return found


def _titles(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
