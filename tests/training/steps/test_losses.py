import math

import numpy as np
import parity_weights
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional as F

from bc_sam.training.steps.losses import autoencoder_loss, linear_mmd, segmentation_loss, ssim

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def expected():
    return parity_weights.expected("autoencoder_expected.npz")


def random_masks(seed, shape=(3, 8, 9)):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def random_images(seed, height=17, width=23):
    return torch.rand((2, 2, 3, height, width), generator=torch.Generator().manual_seed(seed)).unbind()


class TestSegmentationLoss:
    @given(seeds, st.floats(0, 1))
    def test_it_equals_the_originals_softmax_loss(self, seed, dice_weight):
        random = torch.Generator().manual_seed(seed)
        background, cell = 5 * torch.randn((2, 3, 8, 9), generator=random, dtype=torch.float64)
        masks = random_masks(seed).double()
        logits = torch.stack([background, cell], dim=1)
        dices = []
        for score, target in zip(logits.softmax(1).unbind(1), (1 - masks, masks), strict=True):
            overlap = (score * target).sum()
            dices.append((2 * overlap + 1e-5) / ((score * score).sum() + (target * target).sum() + 1e-5))
        reference = (1 - dice_weight) * F.cross_entropy(logits, masks.long()) + dice_weight * (1 - sum(dices) / 2)
        loss = segmentation_loss(cell - background, masks, dice_weight)
        assert loss.item() == pytest.approx(reference.item(), abs=1e-9)

    @given(seeds)
    def test_it_vanishes_for_the_correct_mask_and_is_large_for_the_inverse(self, seed):
        masks = random_masks(seed)
        certain = 40 * (2 * masks - 1)
        assert segmentation_loss(certain, masks).item() == pytest.approx(0, abs=1e-5)
        assert segmentation_loss(-certain, masks).item() > 0.8

    @given(seeds, st.floats(0, 1))
    def test_gradients_push_every_logit_towards_its_mask(self, seed, dice_weight):
        masks = random_masks(seed)
        logits = torch.randn(masks.shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        segmentation_loss(logits, masks, dice_weight).backward()
        assert torch.equal(logits.grad < 0, masks == 1)
        assert (logits.grad != 0).all()

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_all_cell_or_all_background_is_finite(self, value):
        logits = torch.zeros(2, 4, 4, requires_grad=True)
        loss = segmentation_loss(logits, torch.full((2, 4, 4), value))
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


def naive_ssim(a, b):
    """The definition, as convolutions of each channel with an 11 x 11 Gaussian, zero outside the image."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def blur(channel):
        return ndimage.convolve(channel, window, mode="constant")

    maps = []
    for x, y in zip(a.double().flatten(0, 1).numpy(), b.double().flatten(0, 1).numpy(), strict=True):
        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        maps.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return np.mean(maps)


class TestSsim:
    @settings(max_examples=20)
    @given(seeds, st.integers(1, 30), st.integers(1, 30))
    def test_it_equals_the_definition_at_any_size(self, seed, height, width):
        a, b = random_images(seed, height, width)
        assert ssim(a, b).item() == pytest.approx(naive_ssim(a, b), abs=1e-5)

    @given(seeds)
    def test_it_is_symmetric_and_one_only_for_equal_images(self, seed):
        a, b = random_images(seed)
        assert ssim(a, b).item() == pytest.approx(ssim(b, a).item(), abs=1e-6)
        assert ssim(a, a).item() == pytest.approx(1, abs=1e-5)
        assert ssim(a, b).item() < 0.9

    def test_its_gradient_descends_to_the_image(self):
        target, image = random_images(seed=0)
        image.requires_grad_()
        before = ssim(image, target)
        before.backward()
        assert ssim(image.detach() + 5 * image.grad, target) > before

    def test_it_equals_the_original(self, expected):
        random = np.random.RandomState(4)
        a = random.rand(2, 3, 128, 128)
        b = np.clip(a + 0.1 * random.standard_normal((2, 3, 128, 128)), 0, 1)
        measured = ssim(torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)).item()
        assert measured == pytest.approx(expected["ssim"].item(), abs=1e-6)


@st.composite
def latents_of_domains(draw, min_domains=2):
    """Latents and the domain of each; the domains have any numbers and sizes, and are mixed."""
    sizes = draw(st.dictionaries(st.integers(0, 9), st.integers(1, 5), min_size=min_domains, max_size=5))
    domains = torch.tensor([domain for domain, size in sizes.items() for _ in range(size)])
    random = torch.Generator().manual_seed(draw(seeds))
    latents = torch.randn((len(domains), 6), generator=random, dtype=torch.float64)
    return latents, domains[torch.randperm(len(domains), generator=random)]


class TestLinearMmd:
    @given(latents_of_domains())
    def test_it_is_the_mean_over_all_pairs_of_domains(self, batch):
        latents, domains = batch
        names = sorted(set(domains.tolist()))
        pairs = [
            F.mse_loss(latents[domains == a].mean(0), latents[domains == b].mean(0)).item()
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        ]
        assert len(pairs) == math.comb(len(names), 2)
        assert linear_mmd(latents, domains).item() == pytest.approx(np.mean(pairs), abs=1e-12)

    @given(latents_of_domains(), seeds)
    def test_it_is_invariant_to_order_numbering_and_translation(self, batch, seed):
        latents, domains = batch
        order = torch.randperm(len(domains), generator=torch.Generator().manual_seed(seed))
        moved = linear_mmd(latents[order] + 7, 100 - 3 * domains[order])
        assert moved.item() == pytest.approx(linear_mmd(latents, domains).item(), abs=1e-9)

    @given(latents_of_domains())
    def test_its_gradient_brings_the_domains_together(self, batch):
        latents, domains = batch
        latents.requires_grad_()
        distance = linear_mmd(latents, domains)
        distance.backward()
        assert linear_mmd(latents.detach() - 0.01 * latents.grad, domains) < distance

    def test_a_batch_of_one_domain_has_no_distance_and_finite_gradients(self):
        latents = torch.randn(4, 6, requires_grad=True)
        distance = linear_mmd(latents, torch.full((4,), 3))
        distance.backward()
        assert distance.item() == 0
        assert torch.equal(latents.grad, torch.zeros(4, 6))

    def test_it_equals_the_original(self, expected):
        latents = torch.tensor(np.random.RandomState(5).standard_normal((32, 50)), dtype=torch.float32)
        measured = linear_mmd(latents, torch.arange(32) % 2).item()
        assert measured == pytest.approx(expected["mmd_linear"].item(), abs=1e-6)


def test_the_autoencoder_loss_weighs_ssim_and_mmd():
    cells, targets = random_images(seed=1)
    latents, domains = torch.tensor([[0.0, 0.0], [1.0, 3.0]]), torch.tensor([0, 1])
    apart = autoencoder_loss(cells, targets, latents, domains, mmd_weight=2.0)
    assert apart.item() == pytest.approx(1 - ssim(cells, targets).item() + 2 * 5, abs=1e-6)
    assert autoencoder_loss(targets, targets, latents * 0, domains).item() == pytest.approx(0, abs=1e-5)
