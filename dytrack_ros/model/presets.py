"""The configuration of the network, and three presets of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

BACKGROUND_MASK_COLOUR = (255, 0, 255)
"""RGB of the background mask: magenta, which is rare in images."""
RENAMED_KEYS = {"template_veil": "background_mask"}
"""Configuration keys of older weights files, with their present names."""
RECYCLING_SCHEMAS = ("none", "a", "b", "c", "d")


@dataclass(frozen=True)
class DyTrackConfig:
    """Shape of the network and of its crops; stored with the weights.

    Attributes:
        width: channels C of a token.
        depth: layers of the encoder.
        heads: attention heads of a layer; divide ``width``.
        exits: encoder layers (from 1, rising) after which an exit is; the last equals ``depth``. Paper: 2, 6, 12.
        adapters: transformer layers in the decisioner of each exit. Paper: 2, 1, 0.
        recycling: feature recycling (Section III-C, Table III): ``none``, ``a`` adds to the decisioner's output, ``b``
            to its input (the paper's choice), ``c`` concatenates with its input, ``d`` adds through a gate.
        head_channels: channels of the first block of a box head; a multiple of 8.
        patch_size: side of a patch in pixels.
        template_size, search_size: sides of the crops in pixels; multiples of ``patch_size``.
        template_factor, search_factor: sides of the crops in target sides, sqrt(w * h).
        background_mask: opacity in [0, 1) of a mask of one colour over the template outside the target's box (beyond
            the paper). It shows the target's shape, which a square crop does not: the rider, or rider and bike.

    Raises:
        ValueError: the values do not fit together.
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
            raise ValueError(f"exits {self.exits} must be rising layer numbers, from 1")
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
        """Patches along a side of the template."""
        return self.template_size // self.patch_size

    @property
    def search_grid(self) -> int:
        """Patches along a side of the search region; also the side of a heat map."""
        return self.search_size // self.patch_size

    @property
    def template_tokens(self) -> int:
        """Number Nz of template tokens."""
        return self.template_grid**2

    @property
    def search_tokens(self) -> int:
        """Number Nx of search tokens."""
        return self.search_grid**2

    @property
    def tokens(self) -> int:
        """Number N = 1 + Nz + Nx of tokens of a frame: IoU token, template, search region."""
        return 1 + self.template_tokens + self.search_tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them, for :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DyTrackConfig:
        """Make a configuration from :meth:`to_dict`'s result, also with older names of keys. Raises ValueError."""
        values = {RENAMED_KEYS.get(name, name): value for name, value in values.items()}
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown configuration keys {unknown}; known are {sorted(known)}")
        fitting: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fitting)


PRESETS = {
    "dytrack_tiny": DyTrackConfig(width=192, heads=3, head_channels=96),
    "dytrack_small": DyTrackConfig(width=384, heads=6, head_channels=128),
    "dytrack_base": DyTrackConfig(width=768, heads=12, head_channels=256),
}


def preset(name: str, **changes: Any) -> DyTrackConfig:
    """Return a preset with the fields in ``changes`` replaced. Raises ValueError for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
