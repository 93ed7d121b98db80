"""Sizes of the network: the three presets and the configuration they fill in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

BACKGROUND_MASK_COLOUR = (255, 0, 255)
"""RGB of what a template's background_mask is made of: rarely seen otherwise."""
RENAMED_KEYS = {"template_veil": "background_mask"}
"""Configuration keys of older weights files and their present names."""
RECYCLING_SCHEMAS = ("none", "a", "b", "c", "d")


@dataclass(frozen=True)
class DyTrackConfig:
    """Everything that shapes the network; stored with the weights.

    ``exits`` are the encoder layers (1-based, the last equals ``depth``) after which an exit stands, and ``adapters``
    the transformer layers of each exit's decisioner (paper: 2/6/12 and 2/1/0). ``recycling`` is the feature recycling
    schema: ``none``, ``a`` (add to the decisioner's output), ``b`` (add to its input, the paper's choice), ``c``
    (concatenate with its input) or ``d`` (gated add). Sizes are in pixels, factors are multiples of the target's side.

    ``background_mask`` in [0, 1) (beyond the paper): how opaque a background_mask of one colour lies over what surrounds the target's
    box in the template. A square crop shows the target's scale, but not its shape: whether the object is the rider or
    the rider with his bike.

    Raises ValueError for a combination that cannot be built.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    exits: tuple[int, ...] = (2, 6, 12)
    adapters: tuple[int, ...] = (2, 1, 0)
    recycling: str = "b"
    head_channels: int = 256
    patch_size: int = 16
    template_size: int = 128
    search_size: int = 256
    template_factor: float = 2.0
    search_factor: float = 4.0
    background_mask: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if list(self.exits) != sorted(set(self.exits)) or not self.exits or self.exits[0] < 1:
            raise ValueError(f"exits {self.exits} must be rising layer numbers from 1 on")
        if self.exits[-1] != self.depth:
            raise ValueError(f"the last of exits {self.exits} must be the depth, {self.depth}")
        if len(self.adapters) != len(self.exits):
            raise ValueError(f"adapters {self.adapters} must give one number for each of the exits {self.exits}")
        if self.recycling not in RECYCLING_SCHEMAS:
            raise ValueError(f"recycling {self.recycling!r} must be one of {', '.join(RECYCLING_SCHEMAS)}")
        for size in (self.template_size, self.search_size):
            if size % self.patch_size:
                raise ValueError(f"crop size {size} is not a multiple of the patch size {self.patch_size}")
        if not 0 <= self.background_mask < 1:
            raise ValueError(f"background_mask {self.background_mask} must lie in [0, 1)")
        if self.head_channels % 8:
            raise ValueError(f"head_channels {self.head_channels} must be a multiple of 8")

    @property
    def template_grid(self) -> int:
        return self.template_size // self.patch_size

    @property
    def search_grid(self) -> int:
        return self.search_size // self.patch_size

    @property
    def template_tokens(self) -> int:
        return self.template_grid**2

    @property
    def search_tokens(self) -> int:
        return self.search_grid**2

    @property
    def tokens(self) -> int:
        """All tokens of a frame: the IoU token, the template's, the search region's."""
        return 1 + self.template_tokens + self.search_tokens

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> DyTrackConfig:
        values = {RENAMED_KEYS.get(name, name): value for name, value in values.items()}
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown configuration keys {unknown}; known are {sorted(known)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


PRESETS = {
    "dytrack_tiny": DyTrackConfig(width=192, heads=3, head_channels=96),
    "dytrack_small": DyTrackConfig(width=384, heads=6, head_channels=128),
    "dytrack_base": DyTrackConfig(width=768, heads=12, head_channels=256),
}


def preset(name: str, **changes) -> DyTrackConfig:
    """The configuration called ``name``, with some of its values replaced.

    Raises ValueError for an unknown name.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
