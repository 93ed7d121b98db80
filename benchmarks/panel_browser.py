"""A page of dytrack_panel in a real, headless Chromium, for the benchmarks and the tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str:
    """The path of the system's Chromium, empty where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


@contextmanager
def browser() -> Iterator:
    """A playwright browser."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if not path:
        raise SystemExit("there is no Chromium: apt install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def browser_page(url: str, viewport: dict[str, int]) -> Iterator:
    """One page, opened."""
    with browser() as chromium:
        page = chromium.new_page(viewport=viewport)
        page.goto(url)
        yield page


def drag_box(page, box: tuple[float, float, float, float]) -> str:
    """Drag a box (x, y, w, h in pixels of the full image) with the mouse; the stamp that was on screen at its begin."""
    area = page.evaluate(
        """() => { const canvas = document.getElementById("picture"), area = canvas.getBoundingClientRect();
                   return [area.left, area.top, area.width, area.height, ...canvas.dataset.size.split(" ").map(Number)]; }"""
    )
    left, top, width, height, columns, rows = area
    x, y, w, h = box
    page.mouse.move(left + x / columns * width, top + y / rows * height)
    page.mouse.down()
    stamp = page.evaluate("document.getElementById('picture').dataset.stamp")
    for share in (0.4, 1.0):
        page.mouse.move(left + (x + share * w) / columns * width, top + (y + share * h) / rows * height)
    page.mouse.up()
    return stamp
