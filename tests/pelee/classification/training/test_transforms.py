"""Named transforms of a training batch: affine and on pixels."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from pelee.classification.training import transforms
from pelee.classification.training.augmentation import Augmentation
from pelee.classification.training.settings import ClassifierSettings, TransformName
from pelee.classification.training.transforms import AFFINE, PIXELS, affine, change_pixels, flip, sample, window

NAMES = [*AFFINE, *PIXELS]
REPORT = "flip-horizontal flip-vertical blur crop-and-pad scale translate rotate shear coarse-dropout multiply contrast"


def noise(count: int, side: int = 16) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(count)).to(torch.uint8)


def smooth(count: int, side: int = 32) -> Tensor:
    """Smooth images, like photos: (N, 3, side, side) float, 40 to 215."""
    steps = torch.linspace(0, math.pi, side)
    wave = steps.sin()[:, None] * steps.cos()[None]
    return (127.5 + 87.5 * wave * torch.linspace(0.3, 1, count).view(-1, 1, 1, 1)).expand(count, 3, side, side).clone()


def augment(images: Tensor, names: tuple[str, ...], share: float, seed: int = 0, **more: object) -> Tensor:
    """An augmentation that consists of these transforms only."""
    settings = ClassifierSettings(crop_scale=1.0, flip=0.0, transforms=names, transform_share=share, **more)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    targets = torch.eye(len(images))
    result, after = Augmentation(settings)(images, targets, images.shape[-1])
    assert torch.equal(after, torch.eye(len(images))), "targets are unchanged"
    return result


def drawn(monkeypatch: pytest.MonkeyPatch, **values: float) -> None:
    """Make every draw from a range return the same share of it, 0 to 1."""
    monkeypatch.setattr(
        transforms, "_uniform", lambda count, low, high: torch.full((count,), low + (high - low) * values["share"])
    )


def test_transform_names_of_settings_and_report() -> None:
    assert set(get_args(TransformName)) == set(NAMES)
    assert set(REPORT.split()) < set(NAMES) and len(REPORT.split()) == 11


# Affine


@pytest.mark.parametrize("axis", [0, 1])
def test_flip_twice_is_the_identity(axis: int) -> None:
    images = noise(4)
    which = torch.tensor([True, False, True, True])
    once = sample(images, flip(which, axis), 16)
    expected = images.clone()
    expected[which] = images[which].flip(3 - axis)
    assert torch.allclose(once, expected.float(), atol=1e-2)
    assert torch.equal(flip(which, axis) @ flip(which, axis), torch.eye(3).expand(4, 3, 3))
    assert torch.allclose(sample(once, flip(which, axis), 16), images.float(), atol=2e-2)


@pytest.mark.parametrize(("share", "pixels"), [(0.0, 4), (0.25, 2), (0.5, 0), (1.0, -4)])
def test_translate_moves_a_known_pixel(share: float, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, share=share)  # -20 % to 20 % of 20 pixels
    images = torch.zeros(1, 3, 20, 20)
    images[..., 9, 10] = 200
    moved = sample(images, affine(["translate"], 1), 20)
    assert (moved > 199).nonzero().tolist() == [[0, channel, 9 + pixels, 10 + pixels] for channel in range(3)]


def test_rotate_turns_about_the_center(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, share=1.0)
    matrix = affine(["rotate"], 1)[0]
    assert torch.allclose(matrix[:2, :2] @ matrix[:2, :2].T, torch.eye(2), atol=1e-6)
    assert math.degrees(math.acos(matrix[0, 0])) == pytest.approx(25, abs=1e-3) and not matrix[:2, 2].any()


def test_scale_and_shear_are_in_their_ranges() -> None:
    torch.manual_seed(0)
    scale, shear, crop = (affine([name], 2000) for name in ("scale", "shear", "crop-and-pad"))
    sizes = 1 / scale[:, [0, 1], [0, 1]]
    assert 0.8 <= sizes.min() < 0.81 and 1.19 < sizes.max() <= 1.2
    assert (sizes[:, 0] - sizes[:, 1]).abs().max() > 0.3, "both directions independently"
    assert math.degrees(math.atan(shear[:, 0, 1].abs().max())) == pytest.approx(8, abs=0.05)
    # The window's edges: from 5 % inside the image's edges, -1 and 1, to 10 % outside.
    for edge in (crop[:, 0, 2] - crop[:, 0, 0], -crop[:, 0, 2] - crop[:, 0, 0]):
        assert -1.2 <= edge.min() < -1.19 and -0.91 < edge.max() <= -0.9


def test_affine_applies_transforms_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubled about the centre and then moved right by 4 pixels, or moved and then doubled: 4 or 8 pixels away."""
    one, zero = torch.ones(1), torch.zeros(1)
    monkeypatch.setitem(AFFINE, "double", lambda count: window(zero, zero, one / 2, one / 2))
    monkeypatch.setitem(AFFINE, "right", lambda count: window(-0.2 * one, zero, one, one))  # 4 of 40 pixels
    for names, at in ((("double", "right"), 4), (("right", "double"), 8)):
        images = torch.zeros(1, 1, 40, 40).expand(1, 3, 40, 40).clone()
        images[..., 18:22, 18:22] = 100
        columns = (sample(images, affine(names, 1), 40)[0, 0] > 50).any(0).nonzero().flatten()
        assert columns.float().mean() == 19.5 + at


# Pixels


def test_blur_smooths_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    images = noise(20, 32).float()
    blurred = change_pixels(["blur"], images)
    assert torch.allclose(blurred.mean((2, 3)), images.mean((2, 3)), atol=1.5)
    assert (blurred.var((2, 3)) <= images.var((2, 3)) + 1e-3).all() and (blurred.var() < 0.7 * images.var())


def test_multiply_has_one_factor_per_image() -> None:
    torch.manual_seed(0)
    images = smooth(64)  # at most 215: × 1.2 is clamped at 255
    factors = change_pixels(["multiply"], images) / images
    inside = factors[:, :, images[0, 0] < 212]
    assert torch.allclose(inside, factors[:, :1, :1, :1].flatten(1).unsqueeze(2).expand_as(inside), atol=1e-4)
    assert 0.8 <= factors.min() < 0.82 and 1.17 < factors[:, 0, 0, 0].max() <= 1.2


def test_contrast_moves_away_from_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, share=1.0)
    images = torch.tensor([127.5, 147.5, 27.5, 250.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert change_pixels(["contrast"], images)[0, 2].flatten().tolist() == [127.5, 157.5, 0.0, 255.0]


def test_coarse_dropout_blackens_cells_in_all_channels() -> None:
    torch.manual_seed(0)
    dropped = change_pixels(["coarse-dropout"], torch.full((200, 3, 32, 32), 90.0)) == 0
    assert torch.equal(dropped[:, 0], dropped[:, 1]) and torch.equal(dropped[:, 0], dropped[:, 2])
    cells = dropped[:, 0].view(200, 8, 4, 8, 4).float().mean((2, 4))
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    assert cells.mean() == pytest.approx(0.09, abs=0.01)  # the middle of 3 to 15 %


# The batch


@pytest.mark.parametrize("name", NAMES)
def test_each_transform_stays_in_range_and_changes_images(name: str) -> None:
    images = noise(16)
    changed = augment(images, (name,), 1.0)
    assert changed.shape == images.shape and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 255
    different = (changed - images.float()).abs().amax((1, 2, 3)) > 1
    assert different.sum() >= 4, "at least a quarter: the probability of a flip is one half"


def test_transform_share_of_zero_changes_nothing_and_of_one_everything() -> None:
    images = noise(64)
    plain = augment(images, (), 0.5)
    assert torch.equal(augment(images, tuple(NAMES), 0.0), plain)
    changed = augment(images, ("translate", "multiply"), 1.0)
    assert (changed != plain).flatten(1).any(1).all()


@pytest.mark.slow
def test_transform_share_is_that_of_the_changed_images() -> None:
    images = noise(2000, 8)
    plain = augment(images, (), 0.5)
    for share in (0.2, 0.5):
        for names in (("translate",), ("multiply",), ("rotate", "contrast", "blur")):
            changed = (augment(images, names, share) != plain).flatten(1).any(1)
            assert changed.float().mean() == pytest.approx(share, abs=0.055)  # five standard deviations


def test_same_seed_gives_the_same_images() -> None:
    images = noise(32)
    first = augment(images, tuple(NAMES), 0.5, seed=5, erasing=0.3)
    assert torch.equal(first, augment(images, tuple(NAMES), 0.5, seed=5, erasing=0.3))
    assert not torch.equal(first, augment(images, tuple(NAMES), 0.5, seed=6, erasing=0.3))


def test_transforms_follow_the_crop_in_output_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a crop to another size, a translation is a share of the output's side."""
    drawn(monkeypatch, share=0.25)  # 10 % right and down
    images = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    images[..., 10:12, 10:12] = 200
    settings = ClassifierSettings(crop_scale=1.0, flip=0.0, transforms=("translate",), transform_share=1.0)
    result, _ = Augmentation(settings)(images, torch.ones(1, 1), 40)
    bright = (result[0, 0] > 100).nonzero().float().mean(0)
    assert bright.tolist() == [25.5, 25.5]  # 21.5 doubled, and 4 of 40 more
