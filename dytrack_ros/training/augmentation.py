"""Pairs of crops with all their augmentation, computed in batches on the device that holds the images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dytrack_ros.data.datasets import ImageBank
from dytrack_ros.data.labels import MIN_SIDE_PX
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.training.appearance import coloured, gaussian_blur, low_resolution, motion_blur
from dytrack_ros.training.crops import View, box_in_window, crop_window, sample_crops, with_background_mask
from dytrack_ros.training.cutouts import Cutouts
from dytrack_ros.training.draw import Draw, each
from dytrack_ros.training.sampling import PairBatch
from dytrack_ros.training.synthetic import Layer, moved_within, scene_windows, turned_box, turns

PART_OF_STILL, PART_OF_VIDEO, LARGEST_PART = 0.4, 0.85, 1.15
"""Sides of the smallest and the largest part that is a target, in sides of the object. In a video the object may change
its shape, and then the same part of the box does not show the same part of it."""
PROBABILITIES = (
    "flip", "grey", "blur", "motion_blur", "low_resolution", "noise", "mosaic", "distractor", "absent", "synthetic", "cut", "parts",
)  # fmt: skip
PART_STRIDE = 2_654_435_761
"""Keeps the parts' seeds apart in the 32 bits that the generator of the CPU makes use of."""


@dataclass(frozen=True)
class AugmentationConfig:
    """Strengths; probabilities in [0, 1].

    ``centre_jitter``: the search centre moves up to half of this many target sides (as shown) each way; None: one less
    than the search region has (lineage: 3 of 4), so that the target stays visible. ``scale_jitter``: deviation of the
    logarithm of the search crop's scale. ``aspect_jitter``: half-width of the logarithm of its aspect. ``template_*``:
    the same for the template. ``mosaic``: the probability that what lies outside the image shows another image of the
    batch instead of black, so that large targets too are learnt among clutter rather than by the image's border.
    ``low_resolution``: half of the chosen pairs lose every second pixel, half three of four, as a target of 32 or 16 px
    does. ``distractor``: the probability of each of ``distractors`` that the object of another pair stands in the search
    region, beside the target or before a part of it, never before its centre. ``absent``: the probability that the
    search region shows another scene, without the target, so that the predicted IoU tells when it is gone (beyond the
    paper).

    ``synthetic``: the probability that a pair whose object was cut out shows it before the scene of another pair, as two
    frames of a synthetic video. ``turn`` and ``slant``: deviations of the angle in radians and of the shear that the
    object has in the search region. ``camera``: half-width of the camera's motion between the frames, in sides of the
    search region. ``cut``: the probability that the template shows yet another scene.

    ``parts``: the probability that a part of the object is the target, or the object with some of what surrounds it: the
    same part in both crops, so that the network learns to follow what was marked, whatever it usually belongs to.
    """

    centre_jitter: float | None = None
    scale_jitter: float = 0.25
    aspect_jitter: float = 0.12
    template_centre_jitter: float = 0.15
    template_scale_jitter: float = 0.1
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.4
    grey: float = 0.25
    blur: float = 0.2
    motion_blur: float = 0.2
    low_resolution: float = 0.3
    noise: float = 0.1
    mosaic: float = 0.5
    distractor: float = 0.3
    distractors: int = 1
    absent: float = 0.0
    synthetic: float = 0.0
    turn: float = 0.2
    slant: float = 0.1
    camera: float = 0.3
    cut: float = 0.3
    parts: float = 0.0

    def __post_init__(self) -> None:
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1], it is a probability")
        if self.distractors < 0:
            raise ValueError(f"distractors {self.distractors} must be 0 or more")


@dataclass(frozen=True)
class CropBatch:
    """``template`` (B, 3, Tz, Tz) and ``search`` (B, 3, Tx, Tx), RGB in [0, 255] float; ``box`` (B, 4), the target in
    the search region as (x1, y1, x2, y2) in units of its side, clipped to [0, 1]; ``present`` (B,) bool, whether it is
    there at all: if not, its box means nothing."""

    template: Tensor
    search: Tensor
    box: Tensor
    present: Tensor


@dataclass(frozen=True)
class CropView:
    """What crops can show of an image: ``reach``, how far from the target's centre, in target sides sqrt(w * h), and
    ``side_px``, how many pixels of a crop the target's side has at most: a larger target may be shrunk to that."""

    reach: float
    side_px: float


class PairAugmentation:
    """Turns sampled pairs into crops; deterministic for a given seed, step, part and device type.

    ``bank`` holds the images of pairs that bring none of their own. With ``cutouts`` distractors have their own shape, and
    pairs may be synthetic.
    """

    def __init__(
        self,
        bank: ImageBank,
        model: DyTrackConfig,
        config: AugmentationConfig | None = None,
        seed: int = 0,
        cutouts: Cutouts | None = None,
    ):
        self.bank, self.model, self.config, self.seed = bank, model, config or AugmentationConfig(), seed
        self.cutouts = cutouts and cutouts.to(bank.device)

    def views(self) -> tuple[CropView, CropView]:
        """Of the template and of the search region (of the template in all but one of 15,000 draws)."""
        c, m = self.config, self.model
        stretch = math.exp(2 * c.scale_jitter + c.aspect_jitter / 2)
        template_stretch = math.exp(4 * c.template_scale_jitter)
        part, smallest = (LARGEST_PART, PART_OF_STILL) if c.parts else (1.0, 1.0)
        return (
            CropView(
                (m.template_factor + c.template_centre_jitter) / 2 * template_stretch * part,
                m.template_size / m.template_factor * template_stretch / smallest,
            ),
            CropView(
                (m.search_factor + self._centre_jitter) / 2 * stretch * part,
                m.search_size / m.search_factor * stretch / smallest,
            ),
        )

    @property
    def _centre_jitter(self) -> float:
        jitter = self.config.centre_jitter
        return self.model.search_factor - 1 if jitter is None else jitter

    def __call__(self, pairs: PairBatch, step: int, part: int = 0) -> CropBatch:
        """The crops of a batch; ``part`` numbers the parts of a batch that several processes share."""
        bank, device, c = pairs.bank or self.bank, self.bank.device, self.config
        generator = torch.Generator(device).manual_seed((self.seed * 1_000_003 + step + part * PART_STRIDE) % 2**63)
        draw = Draw(len(pairs.scene), generator, device)
        scene = torch.from_numpy(pairs.scene).to(device)
        beside_other = scene != scene.roll(1)  # the neighbour in the batch shows another scene
        synthetic = draw.chance(c.synthetic) & beside_other & self._is_cut_out(pairs)
        template_view, search_view = self._views(pairs, draw, draw.chance(c.parts) & ~synthetic)
        template, _ = template_view.crop(bank)
        search, inside = search_view.crop(bank)
        marked = box_in_window(template_view.box, template_view.window)
        box = box_in_window(search_view.box, search_view.window)

        clutter, _ = sample_crops(bank, *_other_images(bank, search_view.image), self.model.search_size)
        mosaic = each(draw.chance(c.mosaic))
        search = torch.where(mosaic & ~inside, clutter, search)
        black = ~(mosaic | inside)
        shape = None
        if self.cutouts is not None:
            layers = [
                Layer(crop, self.cutouts.alpha(view.object, view.label, view.window, view.size))
                for view, crop in ((template_view, template), (search_view, search))
            ]
            shape = layers[0].alpha
            new_template, new_search, new_box, seen = self._synthetic(layers, box, search_view.image, bank, draw)
            synthetic &= seen
            template, search = (
                torch.where(each(synthetic), new, old) for new, old in ((new_template, template), (new_search, search))
            )
            box = torch.where(synthetic[:, None], new_box, box)
            black &= ~each(synthetic)
        for number in range(1, c.distractors + 1):
            place, extent = draw.uniform(2), 0.2 + 0.1 * draw.uniform()
            grid = _distractor_grid(place, extent, self.model.search_size)
            covered = (grid.abs().amax(3) < 1)[:, None] & each(draw.chance(c.distractor))
            covered &= ~_covers_centre(place, extent, box) & each(scene != scene.roll(number))
            if shape is not None:
                covered &= _distractors(shape.roll(number, 0), grid) > 0.5
            search = torch.where(covered, _distractors(template.roll(number, 0), grid), search)
            black &= ~covered
        flipped = draw.chance(c.flip)
        template, search, black = (torch.where(each(flipped), crop.flip(3), crop) for crop in (template, search, black))
        marked, box = (torch.where(flipped[:, None], _mirrored(corners), corners) for corners in (marked, box))

        grey = draw.chance(c.grey)
        template, search = (
            coloured(crop, (c.brightness, c.contrast, c.saturation), grey, draw) for crop in (template, search)
        )
        search = search.masked_fill(black, 0)  # whatever the contrast, the border is black as in tracking
        soft, very_soft = draw.chance(c.low_resolution), draw.chance(0.5)
        for factor, chosen in ((2, soft & ~very_soft), (4, soft & very_soft)):
            template, search = low_resolution(template, chosen, factor), low_resolution(search, chosen, factor)
        search = gaussian_blur(search, draw.chance(c.blur), (draw.uniform() * 0.75 + 1.25))
        search = motion_blur(search, draw.chance(c.motion_blur), draw.uniform() * math.pi)
        noisy = each(draw.chance(c.noise))
        search = torch.where(noisy, search + 8 * draw.normal(*search.shape[1:]), search)
        # The neighbour's search region may be synthetic, before the scene of its own neighbour: not this one's.
        is_there = synthetic.roll(1) & (scene == scene.roll(2))
        present = ~(draw.chance(c.absent) & beside_other & ~is_there)
        search = torch.where(each(present), search, search.roll(1, 0))
        template = template.clamp(0, 255)
        if self.model.background_mask:
            template = with_background_mask(template, marked, self.model.background_mask)
        return CropBatch(template, search.clamp(0, 255), box.clamp(0, 1), present)

    def _is_cut_out(self, pairs: PairBatch) -> Tensor | bool:
        if self.cutouts is None:
            return False
        template, search = (
            torch.from_numpy(number).to(self.bank.device) for number in (pairs.template_object, pairs.search_object)
        )
        return self.cutouts.has(template) & self.cutouts.has(search)

    def _views(self, pairs: PairBatch, draw: Draw, as_part: Tensor) -> tuple[View, View]:
        """Which windows the template and the search region show; of a part of the label where that is chosen, (B,)."""
        c, m = self.config, self.model

        def view(image, label, number, box: Tensor, window: Tensor, size: int) -> View:
            return View(
                *(torch.from_numpy(values).to(draw.device) for values in (image, number, label)), box, window, size
            )

        same = torch.from_numpy(pairs.template_object == pairs.search_object).to(draw.device)
        size = torch.where(same, PART_OF_STILL, PART_OF_VIDEO)[:, None]
        size = size + (LARGEST_PART - size) * draw.share(2)
        place = draw.share(2)
        template_box, search_box = (
            torch.where(as_part[:, None], part_of(box, size, place), box)
            for box in (torch.from_numpy(box).to(draw.device) for box in (pairs.template_box, pairs.search_box))
        )
        template_window = crop_window(
            template_box,
            m.template_factor,
            shift=draw.uniform(2) * c.template_centre_jitter / 2,
            log_scale=draw.normal() * c.template_scale_jitter,
            log_aspect=torch.zeros(draw.batch, device=draw.device),
        )
        search_window = crop_window(
            search_box,
            m.search_factor,
            shift=draw.uniform(2) * self._centre_jitter / 2,
            log_scale=(draw.normal() * c.scale_jitter).clamp(-2 * c.scale_jitter, 2 * c.scale_jitter),
            log_aspect=draw.uniform() * c.aspect_jitter,
        )
        return (
            view(
                pairs.template_image,
                pairs.template_box,
                pairs.template_object,
                template_box,
                template_window,
                m.template_size,
            ),
            view(pairs.search_image, pairs.search_box, pairs.search_object, search_box, search_window, m.search_size),
        )

    def _synthetic(
        self, layers: list[Layer], box: Tensor, image: Tensor, bank: ImageBank, draw: Draw
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The template and the search region of ``layers`` before the scenes of the neighbours in the batch, the box there,
        and whether anything of the object is seen, bool (B,)."""
        c, m = self.config, self.model
        still, moving = layers
        turned = moving.turned((box[:, :2] + box[:, 2:]) / 2, turns(draw.normal() * c.turn, draw.normal() * c.slant))
        new_box, seen = turned_box(moving, turned, box)
        behind = image.roll(1)
        window = scene_windows(bank, behind, draw.share(2), draw.share())
        search, _ = sample_crops(bank, behind, window, m.search_size)

        share = m.template_factor / m.search_factor
        before = moved_within(window, bank, behind, share, draw.uniform(2) * c.camera)
        elsewhere = image.roll(2)
        other = scene_windows(bank, elsewhere, draw.share(2), draw.share() * share)
        is_cut = draw.chance(c.cut)
        template, _ = sample_crops(
            bank,
            torch.where(is_cut, elsewhere, behind),
            torch.where(is_cut[:, None], other, before),
            m.template_size,
        )
        return still.before(template), turned.before(search), new_box, seen


def _mirrored(corners: Tensor) -> Tensor:
    """(x1, y1, x2, y2) in [0, 1] as seen in a mirror, (B, 4)."""
    return torch.stack([1 - corners[:, 2], corners[:, 1], 1 - corners[:, 0], corners[:, 3]], 1)


def part_of(box: Tensor, size: Tensor, place: Tensor) -> Tensor:
    """The part of ``box`` (B, 4), as (x, y, w, h), with ``size`` (B, 2) times its sides at ``place`` (B, 2): 0 at its left
    or upper end, 1 at the other. Where that would be too small to learn from, the box itself."""
    sides = box[:, 2:] * size
    part = torch.cat([box[:, :2] + (box[:, 2:] - sides) * place, sides], 1)
    return torch.where((sides.amin(1) >= MIN_SIDE_PX)[:, None], part, box)


def _other_images(bank: ImageBank, image: Tensor) -> tuple[Tensor, Tensor]:
    """Each member's neighbour in the batch, and the window that shows all of it."""
    other = image.roll(1)
    size = torch.stack([bank.widths[other], bank.heights[other]], dim=1).float()
    return other, torch.cat([torch.zeros_like(size), size], dim=1)


# --- distractors -------------------------------------------------------------------------------------------------------


def _distractor_grid(place: Tensor, extent: Tensor, size: int) -> Tensor:
    """Where each pixel (B, size, size, 2) of the search region lies in its distractor, whose sides are at -1 and 1.

    ``place`` (B, 2) is the distractor's centre and ``extent`` (B,) half its side, in units where the search region
    reaches from -1 to 1.
    """
    steps = (torch.arange(size, device=place.device, dtype=torch.float32) + 0.5) / size * 2 - 1
    offset = (steps - place[..., None]) / extent[:, None, None]
    xs, ys = offset[:, 0, None, :].expand(-1, size, -1), offset[:, 1, :, None].expand(-1, -1, size)
    return torch.stack([xs, ys], dim=3)


def _distractors(templates: Tensor, grid: Tensor) -> Tensor:
    """The middle half of ``templates``, which their objects fill, at their places in the search region."""
    return F.grid_sample(templates, grid / 2, align_corners=False)


def _covers_centre(place: Tensor, extent: Tensor, box: Tensor) -> Tensor:
    """Whether (B, 1, 1, 1) the distractor hides the centre of the target's ``box`` (B, 4) in [0, 1]."""
    centre = (box[:, :2] + box[:, 2:]) - 1
    return each((centre - place).abs().amax(1) < extent)
