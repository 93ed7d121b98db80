"""Hooks of mkdocs: the pages in the root of the checkout are pages of the site, too; README.md is its first one."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")


def on_files(files, config):
    for name in PAGES:
        text = (ROOT / f"{name}.md").read_text()
        text = re.sub(r"\]\(docs/", "](", text)
        text = re.sub(r"\]\((LICENSE|[\w/.-]+\.cff)\)", rf"]({config.repo_url}/blob/main/\1)", text)
        files.append(File.generated(config, "index.md" if name == "README" else f"{name}.md", content=text))
    return files


def on_page_markdown(markdown, **_):
    """Pages below docs/ reach the root by one `../` less than in the checkout."""
    markdown = re.sub(rf"\]\(\.\./((?:\.\./)*(?:{'|'.join(PAGES)})\.md)", r"](\1", markdown)
    return re.sub(r"\]\(((?:\.\./)*)README\.md", r"](\1index.md", markdown)
