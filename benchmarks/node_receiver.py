#!/usr/bin/env python3
"""Counts the images that arrive, for benchmarks/node.py: subscribes as tracker_node does, and does nothing else.

Says at its end (SIGINT) how many arrived and how old they were then.
"""

from __future__ import annotations

import json
import sys
import time

from sensor_msgs.msg import Image

from dytrack_ros.nodes.messages import image_qos, stamp_ns
from dytrack_ros.nodes.run import RunnableNode, run


class Receiver(RunnableNode):
    def __init__(self, **node_options) -> None:
        super().__init__("benchmark_receiver", **node_options)
        self._ages_ms: list[float] = []
        self.create_subscription(Image, "image", self._on_image, image_qos())

    def _on_image(self, message: Image) -> None:
        self._ages_ms.append((time.time_ns() - stamp_ns(message.header)) * 1e-6)

    def close(self) -> None:
        """Tell what arrived; ages in milliseconds from the stamp to the callback."""
        print(json.dumps({"images": len(self._ages_ms), "ages_ms": self._ages_ms}), flush=True)


if __name__ == "__main__":
    sys.exit(run(Receiver))
