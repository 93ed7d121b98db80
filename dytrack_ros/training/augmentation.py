"""Pairs of crops with all their augmentation, computed in batches on the device that holds the images.

The geometry is that of tracking (``dytrack_ros.tracking.crop``): pixel j of an image covers [j, j + 1), so the centre
of crop pixel i lies at ``left + (i + 0.5) * side / size`` in the image, and what is outside the image is black.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.training.cutouts import Cutouts
from dytrack_ros.training.datasets import ImageBank
from dytrack_ros.training.sampling import PairBatch
from dytrack_ros.training.synthetic import Layer, moved_within, scene_windows, turned_box, turns

GREY_WEIGHTS = (0.299, 0.587, 0.114)
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
    does. ``intruder``: the probability of each of ``intruders`` that the object of another pair stands in the search
    region, beside the target or before a part of it, never before its centre. ``absent``: the probability that the
    search region shows another scene, without the target, so that the predicted IoU tells when it is gone (beyond the
    paper).

    ``synthetic``: the probability that a pair whose object was cut out shows it before the scene of another pair, as two
    frames of a synthetic video. ``turn`` and ``slant``: deviations of the angle in radians and of the shear that the
    object has in the search region. ``camera``: half-width of the camera's motion between the frames, in sides of the
    search region. ``cut``: the probability that the template shows yet another scene.
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
    intruder: float = 0.3
    intruders: int = 1
    absent: float = 0.0
    synthetic: float = 0.0
    turn: float = 0.2
    slant: float = 0.1
    camera: float = 0.3
    cut: float = 0.3


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

    ``bank`` holds the images of pairs that bring none of their own. With ``cutouts`` intruders have their own shape, and
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
        return (
            CropView(
                (m.template_factor + c.template_centre_jitter) / 2 * template_stretch,
                m.template_size / m.template_factor * template_stretch,
            ),
            CropView((m.search_factor + self._centre_jitter) / 2 * stretch, m.search_size / m.search_factor * stretch),
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
        template_view, search_view = self._views(pairs, draw)
        template, _ = template_view.crop(bank)
        search, inside = search_view.crop(bank)
        box = box_in_window(search_view.box, search_view.window)
        scene = torch.from_numpy(pairs.scene).to(device)
        beside_other = scene != scene.roll(1)  # the neighbour in the batch shows another scene

        clutter, _ = sample_crops(bank, *_other_images(bank, search_view.image), self.model.search_size)
        mosaic = _each(draw.chance(c.mosaic))
        search = torch.where(mosaic & ~inside, clutter, search)
        black = ~(mosaic | inside)
        shape = None
        if self.cutouts is not None:
            layers = [
                Layer(crop, self.cutouts.alpha(view.object, view.box, view.window, view.size))
                for view, crop in ((template_view, template), (search_view, search))
            ]
            shape = layers[0].alpha
            cut_out = self.cutouts.has(template_view.object) & self.cutouts.has(search_view.object)
            new_template, new_search, new_box, seen = self._synthetic(layers, box, search_view.image, bank, draw)
            synthetic = draw.chance(c.synthetic) & cut_out & beside_other & seen
            template, search = (
                torch.where(_each(synthetic), new, old) for new, old in ((new_template, template), (new_search, search))
            )
            box = torch.where(synthetic[:, None], new_box, box)
            black &= ~_each(synthetic)
        for number in range(1, c.intruders + 1):
            place, extent = draw.uniform(2), 0.2 + 0.1 * draw.uniform()
            grid = _intruder_grid(place, extent, self.model.search_size)
            covered = (grid.abs().amax(3) < 1)[:, None] & _each(draw.chance(c.intruder))
            covered &= ~_covers_centre(place, extent, box)
            if shape is not None:
                covered &= _intruders(shape.roll(number, 0), grid) > 0.5
            search = torch.where(covered, _intruders(template.roll(number, 0), grid), search)
            black &= ~covered
        flipped = draw.chance(c.flip)
        template, search, black = (torch.where(_each(flipped), crop.flip(3), crop) for crop in (template, search, black))
        box = torch.where(flipped[:, None], torch.stack([1 - box[:, 2], box[:, 1], 1 - box[:, 0], box[:, 3]], 1), box)

        grey = draw.chance(c.grey)
        template, search = (_colour(crop, c, grey, draw) for crop in (template, search))
        search = search.masked_fill(black, 0)  # whatever the contrast, the border is black as in tracking
        soft, very_soft = draw.chance(c.low_resolution), draw.chance(0.5)
        for factor, chosen in ((2, soft & ~very_soft), (4, soft & very_soft)):
            template, search = _low_resolution(template, chosen, factor), _low_resolution(search, chosen, factor)
        search = _gaussian_blur(search, draw.chance(c.blur), (draw.uniform() * 0.75 + 1.25))
        search = _motion_blur(search, draw.chance(c.motion_blur), draw.uniform() * math.pi)
        noisy = _each(draw.chance(c.noise))
        search = torch.where(noisy, search + 8 * draw.normal(*search.shape[1:]), search)
        present = ~(draw.chance(c.absent) & beside_other)
        search = torch.where(_each(present), search, search.roll(1, 0))
        return CropBatch(template.clamp(0, 255), search.clamp(0, 255), box.clamp(0, 1), present)

    def _views(self, pairs: PairBatch, draw: Draw) -> tuple[View, View]:
        """Which windows the template and the search region show."""
        c, m = self.config, self.model

        def view(image, box, number, window: Tensor, size: int) -> View:
            return View(*(torch.from_numpy(values).to(draw.device) for values in (image, number)), box, window, size)

        template_box, search_box = (
            torch.from_numpy(box).to(draw.device) for box in (pairs.template_box, pairs.search_box)
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
            view(pairs.template_image, template_box, pairs.template_object, template_window, m.template_size),
            view(pairs.search_image, search_box, pairs.search_object, search_window, m.search_size),
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


@dataclass(frozen=True)
class View:
    """What a crop of ``size`` px shows of each pair: the ``window`` (B, 4) of ``image`` (B,) around ``box`` (B, 4), all in
    the image's pixels, which is the data set's box number ``object`` (B,)."""

    image: Tensor
    object: Tensor
    box: Tensor
    window: Tensor
    size: int

    def crop(self, bank: ImageBank) -> tuple[Tensor, Tensor]:
        return sample_crops(bank, self.image, self.window, self.size)


@dataclass(frozen=True)
class Draw:
    """Random numbers for each member of a batch."""

    batch: int
    generator: torch.Generator
    device: torch.device

    def share(self, *shape: int) -> Tensor:
        """In [0, 1), (B, *shape)."""
        return torch.rand(self.batch, *shape, generator=self.generator, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        """In [-1, 1), (B, *shape)."""
        return self.share(*shape) * 2 - 1

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.batch, *shape, generator=self.generator, device=self.device)

    def chance(self, probability: float) -> Tensor:
        """True with that probability, bool (B,)."""
        return self.share() < probability


def _each(chosen: Tensor) -> Tensor:
    """A boolean of each member (B,), for all pixels of its crop."""
    return chosen[:, None, None, None]


# --- geometry --------------------------------------------------------------------------------------------------------


def crop_window(box: Tensor, factor: float, shift: Tensor, log_scale: Tensor, log_aspect: Tensor) -> Tensor:
    """Windows (B, 4) as (left, top, width, height) in image pixels around ``box`` (B, 4), moved by ``shift`` (B, 2) in
    units of the window's size divided by ``factor`` (the target's side sqrt(w * h), if not stretched), and stretched."""
    side = torch.ceil(torch.sqrt(box[:, 2] * box[:, 3]) * factor)
    width = side * torch.exp(log_scale + log_aspect / 2)
    height = side * torch.exp(log_scale - log_aspect / 2)
    size = torch.stack([width, height], dim=1)
    centre = box[:, :2] + box[:, 2:] / 2 + shift * size / factor
    return torch.cat([centre - size / 2, size], dim=1)


def box_in_window(box: Tensor, window: Tensor) -> Tensor:
    """``box`` (B, 4) as (x, y, w, h) in pixels to (x1, y1, x2, y2) in units of the window."""
    corners = torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], dim=1)
    return (corners - window[:, :2].repeat(1, 2)) / window[:, 2:].repeat(1, 2)


def _other_images(bank: ImageBank, image: Tensor) -> tuple[Tensor, Tensor]:
    """Each member's neighbour in the batch, and the window that shows all of it."""
    other = image.roll(1)
    size = torch.stack([bank.widths[other], bank.heights[other]], dim=1).float()
    return other, torch.cat([torch.zeros_like(size), size], dim=1)


def sample_crops(bank: ImageBank, image: Tensor, window: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Bilinear crops (B, 3, size, size) in [0, 255] of ``window`` (B, 4) in images ``image`` (B,), black outside, and
    where they show the image, bool (B, 1, size, size)."""
    steps = (torch.arange(size, device=bank.device, dtype=torch.float32) + 0.5) / size
    widths, heights = bank.widths[image, None], bank.heights[image, None]
    xs, ys = window[:, :1] + steps * window[:, 2:3], window[:, 1:2] + steps * window[:, 3:]
    (x_low, x_weight), (y_low, y_weight) = _lattice(xs), _lattice(ys)
    shown = ((xs >= 0) & (xs < widths))[:, None, :] & ((ys >= 0) & (ys < heights))[:, :, None]
    offsets = bank.offsets[image, None, None]

    def corner(xs: Tensor, ys: Tensor) -> Tensor:
        inside = ((xs >= 0) & (xs < widths))[:, None, :] & ((ys >= 0) & (ys < heights))[:, :, None]
        rows = ys.minimum(heights - 1).clamp(min=0)[:, :, None] * widths[:, :, None]
        columns = xs.minimum(widths - 1).clamp(min=0)[:, None, :]
        return bank.pixels[offsets + rows + columns].float() * inside[..., None]

    right, bottom = x_weight[:, None, :, None], y_weight[:, :, None, None]
    upper = torch.lerp(corner(x_low, y_low), corner(x_low + 1, y_low), right)
    lower = torch.lerp(corner(x_low, y_low + 1), corner(x_low + 1, y_low + 1), right)
    return torch.lerp(upper, lower, bottom).permute(0, 3, 1, 2).contiguous(), shown[:, None]


def _lattice(position: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel whose centre is at or before ``position``, and how far towards the next one it lies, in [0, 1)."""
    index = position - 0.5
    low = torch.floor(index)
    return low.long(), index - low


# --- intruders -------------------------------------------------------------------------------------------------------


def _intruder_grid(place: Tensor, extent: Tensor, size: int) -> Tensor:
    """Where each pixel (B, size, size, 2) of the search region lies in its intruder, whose sides are at -1 and 1.

    ``place`` (B, 2) is the intruder's centre and ``extent`` (B,) half its side, in units where the search region
    reaches from -1 to 1.
    """
    steps = (torch.arange(size, device=place.device, dtype=torch.float32) + 0.5) / size * 2 - 1
    offset = (steps - place[..., None]) / extent[:, None, None]
    xs, ys = offset[:, 0, None, :].expand(-1, size, -1), offset[:, 1, :, None].expand(-1, -1, size)
    return torch.stack([xs, ys], dim=3)


def _intruders(templates: Tensor, grid: Tensor) -> Tensor:
    """The middle half of ``templates``, which their objects fill, at their places in the search region."""
    return F.grid_sample(templates, grid / 2, align_corners=False)


def _covers_centre(place: Tensor, extent: Tensor, box: Tensor) -> Tensor:
    """Whether (B, 1, 1, 1) the intruder hides the centre of the target's ``box`` (B, 4) in [0, 1]."""
    centre = (box[:, :2] + box[:, 2:]) - 1
    return _each((centre - place).abs().amax(1) < extent)


# --- appearance ------------------------------------------------------------------------------------------------------


def _colour(crop: Tensor, c: AugmentationConfig, grey: Tensor, draw: Draw) -> Tensor:
    brightness, contrast, saturation = (
        1 + strength * draw.uniform(1, 1, 1) for strength in (c.brightness, c.contrast, c.saturation)
    )
    red, green, blue = GREY_WEIGHTS
    luminance = red * crop[:, :1] + green * crop[:, 1:2] + blue * crop[:, 2:]
    saturation = torch.where(_each(grey), torch.zeros_like(saturation), saturation)
    crop = torch.lerp(luminance, crop, saturation)
    mean = luminance.mean(dim=(2, 3), keepdim=True)
    return ((crop - mean) * contrast + mean) * brightness


def _low_resolution(crop: Tensor, chosen: Tensor, factor: int) -> Tensor:
    coarse = F.avg_pool2d(crop, factor)
    coarse = F.interpolate(coarse, size=crop.shape[2:], mode="bilinear", align_corners=False)
    return torch.where(_each(chosen), coarse, crop)


def _gaussian_blur(crop: Tensor, chosen: Tensor, sigma: Tensor, radius: int = 4) -> Tensor:
    taps = torch.arange(-radius, radius + 1, device=crop.device, dtype=torch.float32)
    kernel = torch.exp(-(taps**2) / (2 * sigma[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    rows = _filtered(crop, kernel[:, None, :])
    return torch.where(_each(chosen), _filtered(rows, kernel[:, :, None]), crop)


def _motion_blur(crop: Tensor, chosen: Tensor, angle: Tensor, radius: int = 4) -> Tensor:
    grid = torch.arange(-radius, radius + 1, device=crop.device, dtype=torch.float32)
    across = grid[None, :, None] * torch.cos(angle)[:, None, None] - grid[None, None, :] * torch.sin(angle)[:, None, None]
    kernel = (1 - across.abs()).clamp(min=0)
    kernel = kernel / kernel.sum(dim=(1, 2), keepdim=True)
    return torch.where(_each(chosen), _filtered(crop, kernel), crop)


def _filtered(crop: Tensor, kernel: Tensor) -> Tensor:
    """Each image of the batch filtered by its own kernel (B, kh, kw), replicated at the border."""
    batch, channels, height, width = crop.shape
    kh, kw = kernel.shape[1:]
    padded = F.pad(crop, (kw // 2, kw // 2, kh // 2, kh // 2), mode="replicate")
    stacked = padded.reshape(1, batch * channels, height + kh - 1, width + kw - 1)
    kernels = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(stacked, kernels, groups=batch * channels).view(batch, channels, height, width)
