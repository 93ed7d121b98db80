"""An engine for tests in which the network is not the question."""

import numpy as np


class StillEngine:
    """Finds every target where it was, provided it is square. ``locate_at`` (x1, y1, x2, y2) moves its box."""

    name, device, label, precision = "still", "cpu", "still (cpu)", "auto"
    chosen_because, failures = "made by a test", ()
    exit_count = 3
    score = 0.9
    template_size, search_size = 128, 256
    template_factor, search_factor, search_grid = 2.0, 4.0, 16
    background_mask = 0.0
    locate_at = (0.375, 0.375, 0.625, 0.625)

    def set_template(self, template):
        assert template.shape == (128, 128, 3)
        self.template = template

    def begin(self, search):
        assert search.shape == (256, 256, 3)

    def advance(self):
        return self.score

    def locate(self, log_prior=None):
        assert log_prior is None or log_prior.shape == (2, 16, 16)
        return np.array(self.locate_at)
