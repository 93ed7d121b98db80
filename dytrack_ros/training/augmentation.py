"""Pairs of crops with all their augmentation, computed in batches on the device that holds the images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dytrack_ros.data.labels import MIN_SIDE_PX
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.training.crops import ImageBank, box_in_window, crop_window, sample_crops, with_background_mask
from dytrack_ros.training.cutouts import Cutouts, Layer, moved_within, scene_windows, turned_box, turns
from dytrack_ros.training.options import check_options, option
from dytrack_ros.training.photometric import Draw, coloured, each, gaussian_blur, low_resolution, motion_blur
from dytrack_ros.training.sampling import CropView, PairBatch

PART_OF_STILL, PART_OF_VIDEO, LARGEST_PART = 0.4, 0.85, 1.15
"""Smallest and largest sides of a part that is a target, in sides of the object. An object in a video may change its
shape; then a small part of its box does not show the same part of the object in both frames."""
PROBABILITIES = ("flip", "grey", "blur", "motion_blur", "low_resolution", "noise", "mosaic", "distractor", "cut")
PART_STRIDE = 2_654_435_761  # keeps the seeds of processes apart in the 32 bits that the CPU's generator uses
ENTERING_SHARES = (0.25, 0.9)  # visible share of a target that the image's border cuts off
ENTERING_SIDEWAYS = 0.75  # share of them that enter from the left or the right
LARGEST_GAP = 1.5  # largest distance of the border from a target that has entered, in target sides
MOTION_REACH = 8.0  # largest scale change of a followed target, in mean deviations
LOOK_ALIKE_MARGIN = 0.35  # least extra distance from the centre and least distance from the target, in half regions
LOOK_ALIKE_PLACES = 8  # random places tried
LOOK_ALIKE_TINT = 0.12  # deviation of each colour channel's gain
LOOK_ALIKE_SCALE = 0.15  # deviation of the logarithm of its size


@dataclass(frozen=True)
class AugmentationConfig:
    """Strengths of the augmentation. Probabilities and shares lie in [0, 1].

    * ``centre_jitter``: the search centre moves up to half of this many target sides each way. None: one less than the
      search region has (lineage: 3 of 4), so that the target stays visible.
    * ``scale_jitter``, ``aspect_jitter``: deviation of the logarithm of the search crop's scale, and half-width of the
      logarithm of its aspect. ``template_*``: the same for the template.
    * ``motion``: share of the pairs whose search centre and scale are drawn as those of a followed target: Laplace with
      mean absolute values ``motion_spread`` and ``motion_scale``. The centre stays within ``centre_jitter``.
    * ``look_alikes``: probability of a tinted copy of the target in the search region, farther from the centre than the
      target.
    * ``mosaic``: probability that another image of the batch fills what lies outside the image, instead of black. Large
      targets are then learnt among clutter too, and not by the image's border.
    * ``low_resolution``: half of the chosen pairs lose every second pixel, half three of four, as for a target of 32 or
      16 px.
    * ``distractor``: probability of each of ``distractors`` that the object of another pair stands in the search
      region, beside the target or in front of a part of it, never in front of its centre.
    * ``absent``: probability that the search region shows another scene without the target; the score's target is then
      0.
    * ``synthetic``: probability that a pair whose object was cut out shows it in front of another pair's scene.
      ``turn``, ``slant``: deviations of its angle in radians and of its shear. ``camera``: half-width of the camera's
      motion, in sides of the search region. ``cut``: probability that the template shows yet another scene.
    * ``entering``: probability that the template shows a target that is cut off by the image's border. In half of these
      pairs the search region shows at least as much of it, else all of it with the border beside it.
    * ``parts``: probability that the target is a part of the object, or the object with some of its surroundings; the
      same part in both crops.
    """

    motion: float = option(
        0.0, "share of the pairs with search centre and scale as for a followed target", low=0, high=1
    )
    motion_spread: float = option(0.12, "their mean distance from the target, per axis, in target sides", low=0)
    motion_scale: float = option(0.05, "their mean change of scale, as a logarithm", low=0)
    look_alikes: float = option(
        0.0, "probability of a tinted copy of the target, farther from the centre", low=0, high=1
    )
    distractors: int = option(1, "objects of other pairs that may stand in a search region", low=0)
    absent: float = option(
        0.0, "share of the pairs without the target; their score's target is 0; paper: 0", low=0, high=1
    )
    synthetic: float = option(
        0.0, "share of the pairs that show a cut-out object in another scene; paper: 0", low=0, high=1
    )
    parts: float = option(0.0, "share of the pairs whose target is a part of the object; paper: 0", low=0, high=1)
    entering: float = option(
        0.0, "share of the pairs whose template is cut off by the image's border; paper: 0", low=0, high=1
    )
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
    turn: float = 0.2
    slant: float = 0.1
    camera: float = 0.3
    cut: float = 0.3

    def __post_init__(self) -> None:
        check_options(self)
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1]")

    @property
    def largest_log_scale(self) -> float:
        """Largest logarithm of the search crop's scale."""
        return max(2 * self.scale_jitter, MOTION_REACH * self.motion_scale if self.motion else 0.0)


@dataclass(frozen=True)
class CropBatch:
    """Crops of pairs, RGB in [0, 255] float: ``template`` (B, 3, Tz, Tz) and ``search`` (B, 3, Tx, Tx).

    ``box`` (B, 4) is the target in the search region as (x1, y1, x2, y2) in units of its side, clipped to [0, 1]. Where
    the target is not ``present`` (B,) bool, the box has no meaning.
    """

    template: Tensor
    search: Tensor
    box: Tensor
    present: Tensor


@dataclass(frozen=True)
class View:
    """What a crop of ``size`` px shows of each pair: the ``window`` (B, 4) of ``image`` (B,) around ``box`` (B, 4).

    All are in pixels of the image. ``label`` (B, 4) is the box of the whole object ``object`` (B,).
    """

    image: Tensor
    object: Tensor
    label: Tensor
    box: Tensor
    window: Tensor
    size: int

    def crop(self, bank: ImageBank) -> tuple[Tensor, Tensor]:
        return sample_crops(bank, self.image, self.window, self.size)

    def layer(self, crop: Tensor, cutouts: Cutouts) -> Layer:
        return Layer(crop, cutouts.alpha(self.object, self.label, self.window, self.size))


@dataclass(frozen=True)
class ImageBorder:
    """The border of the image where the targets of the pairs ``entering`` (B,) bool enter.

    ``sideways`` (B,): it is the left or the right one. ``far`` (B,): it is the right or the lower one. The search
    region shows it at ``gap`` (B,) target sides from the target; 0: it cuts off the target there too.
    """

    entering: Tensor
    sideways: Tensor
    far: Tensor
    gap: Tensor

    def visible(self, box: Tensor, share: Tensor) -> Tensor:
        """The visible part of ``box`` (B, 4), (x, y, w, h), of which a ``share`` (B,) is visible."""
        share = torch.where(self.entering, share, torch.ones_like(share))
        one, near = torch.ones_like(share), (~self.far).float()
        sizes = torch.where(self.sideways[:, None], torch.stack([share, one], 1), torch.stack([one, share], 1))
        return part_of(box, sizes, near[:, None].expand(-1, 2))

    def beyond(self, box: Tensor, gap: Tensor | float, size: int) -> Tensor:
        """Pixels of a crop beyond the border, bool (B, 1, size, size).

        The border stands at a ``gap`` (B,) from ``box`` (B, 4), both in units of the crop's side.
        """
        steps = (torch.arange(size, device=box.device, dtype=torch.float32) + 0.5) / size
        first, last = (torch.where(self.sideways, box[:, i], box[:, i + 1]) for i in (0, 2))
        past = torch.where(self.far[:, None], steps > (last + gap)[:, None], steps < (first - gap)[:, None])
        return torch.where(each(self.sideways), past[:, None, None, :], past[:, None, :, None]) & each(self.entering)


class PairAugmentation:
    """Turns sampled pairs into crops; deterministic for a given seed, step, part and device type.

    ``bank`` holds the images of pairs without a bank of their own. With ``cutouts`` distractors and look-alikes have
    their objects' shapes, and pairs may be synthetic.
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
        jitter = self.config.centre_jitter
        self.centre_jitter = model.search_factor - 1 if jitter is None else jitter

    def views(self) -> tuple[CropView, CropView]:
        """Reach of the template (exceeded in one of 15,000 draws) and of the search region (never exceeded)."""
        c, m = self.config, self.model
        stretch = math.exp(c.largest_log_scale + c.aspect_jitter / 2)
        template_stretch = math.exp(4 * c.template_scale_jitter)
        part, smallest = (LARGEST_PART, PART_OF_STILL) if c.parts else (1.0, 1.0)
        if c.entering:
            smallest = min(smallest, math.sqrt(ENTERING_SHARES[0]))
        return (
            CropView(
                (m.template_factor + c.template_centre_jitter) / 2 * template_stretch * part,
                m.template_size / m.template_factor * template_stretch / smallest,
            ),
            CropView(
                (m.search_factor + self.centre_jitter) / 2 * stretch * part,
                m.search_size / m.search_factor * stretch / smallest,
            ),
        )

    def __call__(self, pairs: PairBatch, step: int, part: int = 0) -> CropBatch:
        """Cuts the crops of a batch; ``part`` numbers the parts of a batch that several processes share."""
        bank, device, c = pairs.bank or self.bank, self.bank.device, self.config
        generator = torch.Generator(device).manual_seed((self.seed * 1_000_003 + step + part * PART_STRIDE) % 2**63)
        draw = Draw(len(pairs.scene), generator, device)
        scene = torch.from_numpy(pairs.scene).to(device)
        beside_other = scene != scene.roll(1)  # the neighbour in the batch shows another scene
        synthetic = draw.chance(c.synthetic) & beside_other & self._is_cut_out(pairs)
        template_view, search_view, border = self._views(pairs, draw, draw.chance(c.parts) & ~synthetic, synthetic)
        template, _ = template_view.crop(bank)
        search, inside = search_view.crop(bank)
        marked = box_in_window(template_view.box, template_view.window)
        box = box_in_window(search_view.box, search_view.window)

        clutter, _ = sample_crops(bank, *_whole_neighbours(bank, search_view.image), self.model.search_size)
        mosaic = each(draw.chance(c.mosaic))
        search = torch.where(mosaic & ~inside, clutter, search)
        black = ~(mosaic | inside)
        shape = None
        if self.cutouts is not None:
            layers = template_view.layer(template, self.cutouts), search_view.layer(search, self.cutouts)
            shape = layers[0].alpha
            new_template, new_search, new_box, seen = self._synthetic(*layers, box, search_view.image, bank, draw)
            synthetic &= seen
            template = torch.where(each(synthetic), new_template, template)
            search = torch.where(each(synthetic), new_search, search)
            box = torch.where(synthetic[:, None], new_box, box)
            black &= ~each(synthetic)
        for number in range(1, c.distractors + 1):
            grid, free = _beside_target(draw.uniform(2), 0.2 + 0.1 * draw.uniform(), box, self.model.search_size)
            covered = free & each(draw.chance(c.distractor) & (scene != scene.roll(number)))
            rolled = shape if shape is None else shape.roll(number, 0)
            search, black = _pasted(search, black, template.roll(number, 0), rolled, grid, covered)
        if c.look_alikes:
            grid, free = self._look_alike_place(box, draw)
            tint = LOOK_ALIKE_TINT * draw.normal(3, 1, 1)
            tinted = (template * (1 + tint)).clamp(0, 255)
            search, black = _pasted(search, black, tinted, shape, grid, free & each(draw.chance(c.look_alikes)))
        template_black = border.beyond(marked, 0.0, self.model.template_size)
        black |= border.beyond(box, border.gap / self.model.search_factor, self.model.search_size)
        flipped = draw.chance(c.flip)
        template, search, black, template_black = (
            torch.where(each(flipped), crop.flip(3), crop) for crop in (template, search, black, template_black)
        )
        marked, box = (torch.where(flipped[:, None], _mirrored(corners), corners) for corners in (marked, box))

        template, search = self._photometric(template, search, black, draw)
        template = template.masked_fill(template_black, 0)
        # The neighbour's search region may be synthetic, in front of the scene of its own neighbour: this pair's scene.
        is_there = synthetic.roll(1) & (scene == scene.roll(2))
        present = ~(draw.chance(c.absent) & beside_other & ~is_there)
        search = torch.where(each(present), search, search.roll(1, 0))
        template = template.clamp(0, 255)
        if self.model.background_mask:
            template = with_background_mask(template, marked, self.model.background_mask)
        return CropBatch(template, search.clamp(0, 255), box.clamp(0, 1), present)

    def _photometric(self, template: Tensor, search: Tensor, black: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        c = self.config
        grey, strengths = draw.chance(c.grey), (c.brightness, c.contrast, c.saturation)
        template, search = (coloured(crop, strengths, grey, draw) for crop in (template, search))
        search = search.masked_fill(black, 0)  # whatever the contrast, the border is black as in tracking
        soft, very_soft = draw.chance(c.low_resolution), draw.chance(0.5)
        for factor, chosen in ((2, soft & ~very_soft), (4, soft & very_soft)):
            template, search = low_resolution(template, chosen, factor), low_resolution(search, chosen, factor)
        search = gaussian_blur(search, draw.chance(c.blur), (draw.uniform() * 0.75 + 1.25))
        search = motion_blur(search, draw.chance(c.motion_blur), draw.uniform() * math.pi)
        noisy = each(draw.chance(c.noise))
        return template, torch.where(noisy, search + 8 * draw.normal(*search.shape[1:]), search)

    def _is_cut_out(self, pairs: PairBatch) -> Tensor | bool:
        if self.cutouts is None:
            return False
        objects = (torch.from_numpy(n).to(self.bank.device) for n in (pairs.template_object, pairs.search_object))
        first, second = map(self.cutouts.has, objects)
        return first & second

    def _views(
        self, pairs: PairBatch, draw: Draw, as_part: Tensor, synthetic: Tensor
    ) -> tuple[View, View, ImageBorder]:
        """Windows of the template and of the search region, and the border where targets enter.

        They show a part of the label where ``as_part`` (B,). The search regions of ``synthetic`` (B,) pairs show all of
        the target.
        """
        c, m = self.config, self.model
        same = torch.from_numpy(pairs.template_object == pairs.search_object).to(draw.device)
        size = torch.where(same, PART_OF_STILL, PART_OF_VIDEO)[:, None]
        size = size + (LARGEST_PART - size) * draw.share(2)
        place = draw.share(2)

        def on_device(image, label, number) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            image, number, label = (torch.from_numpy(values).to(draw.device) for values in (image, number, label))
            return image, number, label, torch.where(as_part[:, None], part_of(label, size, place), label)

        template = on_device(pairs.template_image, pairs.template_box, pairs.template_object)
        search = on_device(pairs.search_image, pairs.search_box, pairs.search_object)
        low, high = ENTERING_SHARES
        visible = low + (high - low) * draw.share()
        is_whole = draw.chance(0.5) | synthetic
        border = ImageBorder(
            draw.chance(c.entering) & ~as_part,
            draw.chance(ENTERING_SIDEWAYS),
            far=draw.chance(0.5),
            gap=torch.where(is_whole, LARGEST_GAP * draw.share(), 0.0),
        )
        template_box = border.visible(template[3], visible)
        search_visible = torch.where(is_whole, 1.0, visible + (1 - visible) * draw.share())
        search_box = border.visible(search[3], search_visible)
        template_window = crop_window(
            template_box,
            m.template_factor,
            shift=draw.uniform(2) * c.template_centre_jitter / 2,
            log_scale=draw.normal() * c.template_scale_jitter,
            log_aspect=torch.zeros(draw.batch, device=draw.device),
        )
        search_window = crop_window(search_box, m.search_factor, *self._search_jitter(draw))
        return (
            View(*template[:3], template_box, template_window, m.template_size),
            View(*search[:3], search_box, search_window, m.search_size),
            border,
        )

    def _search_jitter(self, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Shift (B, 2) of the search centre in target sides, log scale (B,) and log aspect (B,)."""
        c, reach = self.config, self.centre_jitter / 2
        shift = draw.uniform(2) * reach
        scale = (draw.normal() * c.scale_jitter).clamp(-2 * c.scale_jitter, 2 * c.scale_jitter)
        aspect = draw.uniform() * c.aspect_jitter
        if not c.motion:
            return shift, scale, aspect
        followed = draw.chance(c.motion)
        near = (draw.laplace(2) * c.motion_spread).clamp(-reach, reach)
        steady = draw.laplace().clamp(-MOTION_REACH, MOTION_REACH) * c.motion_scale
        return (
            torch.where(followed[:, None], near, shift),
            torch.where(followed, steady, scale),
            torch.where(followed, aspect / 2, aspect),
        )

    def _look_alike_place(self, box: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Grid of a look-alike of the target's size, and the pixels that it may cover.

        It stands farther from the centre than the target's ``box`` and apart from it; otherwise it covers nothing.
        """
        target = (box[:, None, :2] + box[:, None, 2:]) - 1
        places = draw.uniform(LOOK_ALIKE_PLACES, 2)
        extent = torch.exp(LOOK_ALIKE_SCALE * draw.normal()) / self.model.search_factor
        fits = (places.norm(dim=2) > target.norm(dim=2) + LOOK_ALIKE_MARGIN) & (
            (places - target).norm(dim=2) > LOOK_ALIKE_MARGIN
        )
        place = places[torch.arange(draw.batch, device=draw.device), fits.int().argmax(1)]
        grid, free = _beside_target(place, extent, box, self.model.search_size)
        return grid, free & each(fits.any(1))

    def _synthetic(
        self, still: Layer, moving: Layer, box: Tensor, image: Tensor, bank: ImageBank, draw: Draw
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Puts the objects of both crops in front of the scenes of the neighbours in the batch.

        Returns the template, the search region, the box there, and whether the object is visible, bool (B,).
        """
        c, m = self.config, self.model
        turned = moving.turned((box[:, :2] + box[:, 2:]) / 2, turns(draw.normal() * c.turn, draw.normal() * c.slant))
        new_box, seen = turned_box(moving, turned, box)
        behind, elsewhere = image.roll(1), image.roll(2)
        window = scene_windows(bank, behind, draw.share(2), draw.share())
        search, _ = sample_crops(bank, behind, window, m.search_size)

        share = m.template_factor / m.search_factor
        before = moved_within(window, bank, behind, share, draw.uniform(2) * c.camera)
        other = scene_windows(bank, elsewhere, draw.share(2), draw.share() * share)
        is_cut = draw.chance(c.cut)
        image, window = torch.where(is_cut, elsewhere, behind), torch.where(is_cut[:, None], other, before)
        template, _ = sample_crops(bank, image, window, m.template_size)
        return still.before(template), turned.before(search), new_box, seen


def part_of(box: Tensor, size: Tensor, place: Tensor) -> Tensor:
    """The part of ``box`` (B, 4), as (x, y, w, h), with ``size`` (B, 2) times its sides.

    ``place`` (B, 2) is 0 at the box's left or upper end and 1 at the other. Where the part would be too small to learn
    from, the box itself is returned.
    """
    sides = box[:, 2:] * size
    part = torch.cat([box[:, :2] + (box[:, 2:] - sides) * place, sides], 1)
    return torch.where((sides.amin(1) >= MIN_SIDE_PX)[:, None], part, box)


def _mirrored(corners: Tensor) -> Tensor:
    """Mirrors (x1, y1, x2, y2) in [0, 1], (B, 4), left to right."""
    return torch.stack([1 - corners[:, 2], corners[:, 1], 1 - corners[:, 0], corners[:, 3]], 1)


def _whole_neighbours(bank: ImageBank, image: Tensor) -> tuple[Tensor, Tensor]:
    """Each member's neighbour in the batch, and the window that shows all of it."""
    other = image.roll(1)
    size = bank.sizes(other)
    return other, torch.cat([torch.zeros_like(size), size], dim=1)


# --- pasted objects --------------------------------------------------------------------------------------------------


def _beside_target(place: Tensor, extent: Tensor, box: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where each pixel of the search region lies in a pasted object, (B, size, size, 2), whose sides are at -1 and 1.

    ``place`` (B, 2) is the object's centre and ``extent`` (B,) half its side, where the search region reaches from -1
    to
    1. Also returns the pixels that it covers, bool (B, 1, size, size): none if it would hide the centre of the target's
    ``box`` (B, 4) in [0, 1].
    """
    steps = (torch.arange(size, device=place.device, dtype=torch.float32) + 0.5) / size * 2 - 1
    offset = (steps - place[..., None]) / extent[:, None, None]
    xs, ys = offset[:, 0, None, :].expand(-1, size, -1), offset[:, 1, :, None].expand(-1, -1, size)
    grid = torch.stack([xs, ys], dim=3)
    centre = (box[:, :2] + box[:, 2:]) - 1
    hides = (centre - place).abs().amax(1) < extent
    return grid, (grid.abs().amax(3) < 1)[:, None] & ~each(hides)


def _pasted(
    search: Tensor, black: Tensor, template: Tensor, shape: Tensor | None, grid: Tensor, covered: Tensor
) -> tuple[Tensor, Tensor]:
    """Pastes the middle half of ``template``, which its object fills, where ``covered`` and inside its ``shape``."""
    if shape is not None:
        covered = covered & (F.grid_sample(shape, grid / 2, align_corners=False) > 0.5)
    return torch.where(covered, F.grid_sample(template, grid / 2, align_corners=False), search), black & ~covered
