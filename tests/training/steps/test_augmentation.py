import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bc_sam.config.arguments import ViewArguments
from bc_sam.data.appearance.light import GLASS_LEVEL, NUCLEUS_DENSITY
from bc_sam.training.steps import augmentation
from bc_sam.training.steps.augmentation import MAX_TILT, STRONG_DRAWS, random_views, strong_views, view_draws

seeds = st.integers(0, 2**63 - 1)
sizes = st.integers(5, 20)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(n, seed=0):
    return view_draws(seed, 0, range(n))


def symmetries(image):
    """The eight views of an image (..., S, S) that only move whole pixels."""
    turns = [torch.rot90(image, k, (-2, -1)) for k in range(4)]
    return torch.stack(turns + [turn.flip(-1) for turn in turns])


def is_symmetry(views, image):
    """Which of the views (B, C, S, S) are symmetries of an image (C, S, S), up to rounding of the grid."""
    return (views[:, None] - symmetries(image)).abs().amax((-3, -2, -1)).lt(0.05).any(1)


@pytest.fixture(scope="module")
def bright_square():
    """An image and its mask: a bright square away from the centre."""
    mask = torch.zeros(24, 24)
    mask[4:13, 6:11] = 1
    return 255 * mask.expand(3, 24, 24), mask


@settings(max_examples=25)
@given(seeds, sizes)
def test_three_of_four_views_are_symmetries(seed, size):
    image = 255 * torch.rand(3, size, size, generator=generator(seed))
    views, _ = random_views(image.expand(200, -1, -1, -1), torch.zeros(200, size, size), draws(200, seed))
    exact = is_symmetry(views, image)
    assert 0.6 < exact.float().mean() < 0.9


def test_all_eight_symmetries_are_equally_likely():
    image = 255 * torch.rand(3, 8, 8, generator=generator())
    views, _ = random_views(image.expand(4000, -1, -1, -1), torch.zeros(4000, 8, 8), draws(4000))
    near = (views[:, None] - symmetries(image)).abs().amax((-3, -2, -1)) < 0.05
    share = near.float().mean(0)
    assert share[0].item() == pytest.approx(0.25 + 0.5 / 8, abs=0.03)  # those left alone, and the turn by 0°
    assert torch.allclose(share[1:], torch.tensor(0.5 / 8), atol=0.02)


@settings(max_examples=25)
@given(seeds)
def test_the_mask_follows_the_image(bright_square, seed):
    image, mask = bright_square
    views, masks = random_views(image.expand(40, -1, -1, -1), mask.expand(40, -1, -1), draws(40, seed))
    cell, other = masks == 1, masks == 0
    assert (cell | other).all()
    # The image blends where the mask takes the nearer pixel: half and half at an edge, a quarter at a corner.
    assert (views[:, 0][cell] >= 255 / 4 - 0.1).all()
    assert (views[:, 0][other] <= 255 / 2 + 0.1).all()
    assert cell.sum((1, 2)).float().div(mask.sum()).sub(1).abs().max() < 0.2


@settings(max_examples=25)
@given(seeds)
def test_tilts_are_within_the_papers_range_in_both_directions(seed):
    motions = augmentation.motions(draws(400, seed))
    angles = torch.atan2(motions[:, 1, 0], motions[:, 0, 0])
    off = angles / (math.pi / 2)
    tilts = angles[(off - off.round()).abs() > 1e-4]
    assert tilts.abs().max() <= math.radians(MAX_TILT) + 1e-6
    assert tilts.min() < 0 < tilts.max()
    assert torch.allclose(torch.linalg.det(motions[:, :, :2]).abs(), torch.ones(400))


@given(seeds)
def test_views_depend_only_on_the_draws(seed):
    images, masks = 255 * torch.rand(6, 3, 8, 8, generator=generator(seed)), torch.ones(6, 8, 8)
    first, again = (random_views(images, masks, draws(6, seed), colour_jitter=0.3) for _ in range(2))
    other = random_views(images, masks, draws(6, seed ^ 1), colour_jitter=0.3)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


@given(seeds, st.integers(0, 500), st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True))
def test_a_cells_draws_depend_on_seed_epoch_and_cell_and_not_on_its_batch(seed, epoch, cells):
    together = view_draws(seed, epoch, cells)
    for cell, row in zip(cells, together, strict=True):
        assert torch.equal(view_draws(seed, epoch, [cell])[0], row)
        assert not torch.equal(view_draws(seed, epoch + 1, [cell])[0], row)


@given(seeds)
def test_views_stay_within_the_range_of_pixels_and_change_no_input(seed):
    images, masks = 255 * torch.rand(6, 3, 8, 8, generator=generator(seed)), torch.ones(6, 8, 8)
    before = images.clone()
    views, view_masks = random_views(images, masks, draws(6, seed), colour_jitter=0.5)
    assert views.shape == images.shape
    assert view_masks.shape == masks.shape
    assert views.min() >= 0
    assert views.max() <= 255
    assert torch.equal(images, before)


def test_without_jitter_colours_are_unchanged():
    colour = torch.tensor([210.0, 120.0, 60.0])[:, None, None]
    views, _ = random_views(colour.expand(30, 3, 8, 8), torch.ones(30, 8, 8), draws(30), colour_jitter=0)
    assert torch.allclose(views, colour.expand_as(views), atol=1e-2)


@given(seeds, st.floats(0.05, 0.5))
def test_jitter_changes_each_channel_within_its_range(seed, strength):
    level = 100.0  # of a grey image: contrast has nothing to stretch, so brightness and channel gains are all there is
    views, _ = random_views(torch.full((30, 3, 4, 4), level), torch.ones(30, 4, 4), draws(30, seed), strength)
    gains = views.mean((2, 3)) / level
    assert gains.min() >= (1 - strength) * (1 - strength / 2) - 1e-4
    assert gains.max() <= (1 + strength) * (1 + strength / 2) + 1e-4
    assert gains.std(0).min() > 0  # from image to image
    assert (gains.std(1) > 0).all()  # and from channel to channel


class TestStrongViews:
    STILL = ViewArguments(
        smallest=1,
        largest=1,
        shift=0,
        stain=0,
        slide=0,
        focus=0,
        gamma=0,
        pale_prob=0,
        low_resolution_prob=0,
        tight_crop_prob=0,
    )

    @staticmethod
    def unturned(n):
        """Draws of no turn, no mirror and, where nothing is strong, no other change."""
        drawn = torch.full((n, STRONG_DRAWS), 0.5)
        drawn[:, 0] = 0
        return drawn

    @staticmethod
    def unmoved(n, seed=0):
        """Draws that move nothing and change everything else."""
        drawn = view_draws(seed, 0, range(n), STRONG_DRAWS)
        drawn[:, :5] = torch.tensor([0, 0.5, 0.5, 0.5, 0.5])
        return drawn

    def test_zero_strength_is_a_centre_crop(self, bright_square):
        image, mask = bright_square
        views, masks = strong_views(image[None], mask[None], self.unturned(1), 16, self.STILL)
        torch.testing.assert_close(views[0], image[:, 4:20, 4:20], atol=1.01, rtol=0)  # black is 1 of 255
        assert torch.equal(masks[0], mask[4:20, 4:20])

    @settings(max_examples=25)
    @given(seeds)
    def test_the_mask_moves_with_the_cell(self, seed):
        disc = (torch.hypot(*torch.meshgrid(*[torch.arange(64) - 31.5] * 2, indexing="ij")) < 14).float()
        image = 255 * disc.expand(1, 3, 64, 64)
        arguments = replace(self.STILL, smallest=0.7, largest=1.35, shift=0.06)
        views, masks = strong_views(image, disc[None], view_draws(seed, 0, [0], STRONG_DRAWS), 48, arguments)
        assert ((views[:, 0] > 127) == (masks > 0)).float().mean() > 0.97
        grown = (masks.sum() / disc.sum()).sqrt().item()
        assert 0.95 * arguments.smallest < grown < 1.05 * arguments.largest

    def test_stain_does_not_change_the_empty_slide(self):
        slide = torch.tensor([240.0, 220.0, 200.0])
        image = slide[:, None, None].repeat(40, 1, 32, 32)
        image[:, :, 8:16, 8:16] = torch.tensor([110.0, 60.0, 130.0])[:, None, None]
        arguments = replace(self.STILL, stain=0.9)
        views, _ = strong_views(image, torch.zeros(40, 32, 32), self.unmoved(40), 32, arguments)
        torch.testing.assert_close(views[:, :, 20:, 20:], image[:, :, 20:, 20:], atol=0.05, rtol=0)
        assert views[:, :, 12, 12].std(dim=0).min() > 10

    @pytest.mark.parametrize("share", [0, 0.5, 1])
    def test_the_background_has_another_stain_in_some_views(self, share):
        image = torch.full((200, 3, 64, 64), 220.0)
        for place in (32, 2):  # the cell in the middle, and one just like it at the edge
            image[:, :, place - 2 : place + 2, place - 2 : place + 2] = torch.tensor([110.0, 60.0, 130.0])[
                :, None, None
            ]
        arguments = replace(self.STILL, stain=0.8, background_stain_prob=share)
        views, _ = strong_views(image, torch.zeros(200, 64, 64), self.unmoved(200), 64, arguments)
        differs = (views[:, :, 32, 32] - views[:, :, 2, 2]).abs().amax(dim=1) > 1
        assert abs(differs.float().mean() - share) < 0.1

    def test_another_slide_darkens_glass_and_cell_equally(self):
        image = torch.full((40, 3, 32, 32), 200.0)
        image[:, :, 8:16, 8:16] = 100
        views, _ = strong_views(image, torch.zeros(40, 32, 32), self.unmoved(40), 32, replace(self.STILL, slide=0.3))
        left = views / image
        assert left.max() <= 1 + 1e-4
        assert left.min() >= math.exp(-0.3) - 1e-4
        torch.testing.assert_close(left[:, :, 12, 12], left[:, :, 28, 28])

    def test_some_views_are_softer_and_some_sharper(self):
        image = torch.full((60, 3, 32, 32), 200.0)
        image[:, :, 8:24, 8:24] = 100
        views, _ = strong_views(image, torch.zeros(60, 32, 32), self.unmoved(60), 32, replace(self.STILL, focus=0.9))
        step = views[:, 0, 16, 7] - views[:, 0, 16, 8]
        assert step.min() < 60
        assert step.max() > 110

    @staticmethod
    def two_densities(n):
        """Glass, cytoplasm of half the density of a nucleus, and a nucleus as dark as in the reference."""
        image = torch.full((n, 3, 64, 64), GLASS_LEVEL)
        density = torch.tensor(NUCLEUS_DENSITY)[:, None, None]
        image[:, :, 16:48, 16:48] *= (-density / 2).exp()
        image[:, :, 24:40, 24:40] = GLASS_LEVEL * (-density).exp()
        return image

    @staticmethod
    def density(views, place):
        return -(views[:, :, place, place] / GLASS_LEVEL).log()

    def test_gamma_changes_how_dark_cytoplasm_is_beside_the_nucleus(self):
        image = self.two_densities(60)
        arguments = replace(self.STILL, gamma=0.45)
        views, _ = strong_views(image, torch.zeros(60, 64, 64), self.unmoved(60), 64, arguments)
        torch.testing.assert_close(views[:, :, 32, 32], image[:, :, 32, 32], atol=0.5, rtol=0)
        torch.testing.assert_close(views[:, :, 4, 4], image[:, :, 4, 4], atol=1.5, rtol=0)
        powers = -(self.density(views, 20) / self.density(views, 32)).log2()  # 1 where nothing changes
        assert torch.allclose(powers, powers[:, :1].expand(-1, 3), atol=0.02)
        assert math.exp(-0.45) - 0.02 < powers.min() < 0.8
        assert 1.25 < powers.max() < math.exp(0.45) + 0.02

    @pytest.mark.parametrize("share", [0, 0.5, 1])
    def test_the_stain_is_pale_in_some_views(self, share):
        image = self.two_densities(200)
        arguments = replace(self.STILL, pale_prob=share)
        views, _ = strong_views(image, torch.zeros(200, 64, 64), self.unmoved(200), 64, arguments)
        left = self.density(views, 32) / self.density(image, 32)
        assert torch.allclose(left, left[:, :1].expand(-1, 3), atol=0.01)
        torch.testing.assert_close(left, self.density(views, 20) / self.density(image, 20), atol=0.02, rtol=0)
        torch.testing.assert_close(views[:, :, 4, 4], image[:, :, 4, 4], atol=0.5, rtol=0)
        assert abs((left[:, 0] < 0.995).float().mean() - share) < 0.1
        assert left.min() > 0.49
        assert left.max() < 1.01

    @pytest.mark.parametrize("share", [0, 0.5, 1])
    def test_the_resolution_is_lower_in_some_views(self, share):
        """A pattern two pixels wide survives halving, and that is half of them, but not a third of the resolution."""
        stripes = (100 + 100.0 * (torch.arange(48) // 2 % 2)).expand(200, 3, 48, 48)
        arguments = replace(self.STILL, low_resolution_prob=share)
        views, _ = strong_views(stripes, torch.zeros(200, 48, 48), self.unmoved(200), 48, arguments)
        left = views[:, 0].flatten(1).std(dim=1) / stripes[0, 0].std()
        halved, third = (left > 0.5) & (left < 0.98), left < 0.5
        assert abs(halved.float().mean() - share / 2) < 0.1
        assert abs(third.float().mean() - share / 2) < 0.1

    @pytest.mark.parametrize("share", [0, 0.5, 1])
    def test_around_a_tight_crop_there_is_glass_and_no_cell(self, share):
        image, mask = torch.full((200, 3, 64, 64), 100.0), torch.ones(200, 64, 64)
        arguments = replace(self.STILL, tight_crop_prob=share)
        views, masks = strong_views(image, mask, self.unmoved(200), 64, arguments)
        empty = (views == 240).all(dim=1)
        assert torch.equal(masks == 0, empty)
        assert (views[:, 0][~empty] - 100).abs().max() < 0.01
        cropped = empty.flatten(1).any(dim=1)
        assert abs(cropped.float().mean() - share) < 0.12
        assert not empty[:, 22:42, 22:42].any()  # where the cell is
        for inside in ~empty[cropped]:  # a rectangle
            assert torch.equal(inside, inside.any(dim=1)[:, None] & inside.any(dim=0)[None, :])

    def test_each_kind_of_change_is_off_at_zero(self):
        images = 20 + 200 * torch.rand(20, 3, 48, 48, generator=generator())
        views, _ = strong_views(images, images[:, 0], self.unmoved(20), 48, self.STILL)
        torch.testing.assert_close(views, images, atol=0.05, rtol=0)
        for change in ({"gamma": 0.4}, {"pale_prob": 1}, {"low_resolution_prob": 1}, {"tight_crop_prob": 1}):
            changed, _ = strong_views(images, images[:, 0], self.unmoved(20), 48, replace(self.STILL, **change))
            assert (changed - images).abs().amax(dim=(1, 2, 3)).gt(1).float().mean() > 0.7, change

    @settings(max_examples=25)
    @given(seeds)
    def test_pixels_stay_in_range_and_equal_draws_give_equal_views(self, seed):
        images = 255 * torch.rand(4, 3, 24, 24, generator=generator(seed))
        drawn = view_draws(seed, 0, range(4), STRONG_DRAWS)
        views, again = (strong_views(images, images[:, 0], drawn, 16, ViewArguments())[0] for _ in range(2))
        assert torch.equal(views, again)
        assert views.min() >= 0
        assert views.max() <= 255
