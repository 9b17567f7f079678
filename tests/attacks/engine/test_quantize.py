import pytest
import torch
from torch import nn

from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.norms import normalize
from raypipe.attacks.engine.quantize import SCALES, round_into_ball, to_bytes, to_eight_bit, to_unit
from raypipe.attacks.engine.tensors import compute_margins
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.base.norms import Ball


class Brightness(nn.Module):
    """A model that predicts class 1 above a threshold of the mean pixel."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, images):
        over = images.flatten(1).mean(1) - self.threshold
        return torch.stack([-over, over], 1) * 100


def test_every_byte_survives_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_unit(values)), values)
    assert to_bytes(torch.tensor([-0.2, 0.0019, 0.002, 1.7])).tolist() == [0, 0, 1, 255]


def test_the_smallest_scale_that_survives_rounding_is_taken():
    """Round 1.4 steps of 1/255, which gives 1; 1.5 and more give 2, which crosses a threshold at 1.3."""
    clean = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    adversarial = to_unit(clean) + 1.4 / 255
    victim = Victim(Brightness(101.3 / 255), 1)
    found, logits = to_eight_bit(victim, clean, adversarial, Goal(torch.zeros(1, dtype=torch.long)))
    assert (logits.argmax(1) == 1).tolist() == [True]
    assert bool((found == 102).all())
    assert victim.forwards.tolist() == [2], "an image that was tried already is not tried again"


def test_a_perturbation_shorter_than_a_step_is_stretched_until_its_largest_values_are_one():
    clean = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    adversarial = to_unit(clean) + 0.003 / 255
    adversarial[0, :, 0] += 0.002 / 255
    victim = Victim(Brightness(100.2 / 255), 1)
    found, logits = to_eight_bit(victim, clean, adversarial, Goal(torch.zeros(1, dtype=torch.long)))
    assert (logits.argmax(1) == 1).tolist() == [True]
    assert bool((found[0, :, 0] == 101).all())
    assert bool((found[0, :, 1:] == 100).all())
    assert victim.forwards.tolist() == [1]


def test_a_failure_is_flagged_and_keeps_the_rounded_result():
    clean = torch.full((4, 3, 4, 4), 100, dtype=torch.uint8)
    adversarial = to_unit(clean)
    adversarial[0] += 50 / 255
    adversarial[1] -= 3 / 255
    adversarial[3, 0, 0, 0] = 1
    victim = Victim(Brightness(120 / 255), 4)
    found, logits = to_eight_bit(victim, clean, adversarial, Goal(torch.zeros(4, dtype=torch.long)))
    assert (logits.argmax(1) == 1).tolist() == [True, False, False, False]
    assert found.flatten(1)[:, :2].tolist() == [[150, 150], [97, 97], [100, 100], [255, 100]]
    # The second value is searched down to black, the third cannot move, and the last succeeds from the start. A tile
    # without success gets two more predictions: as floats, which do not succeed either, and as stored.
    blackest = len({max(0, round(100 - 3 * scale)) for scale in SCALES})
    assert victim.forwards.tolist() == [1, blackest + 2, 2, 3]
    assert not victim.backwards.any()


class Between(nn.Module):
    """A model that predicts class 1 only where the mean pixel is near 100.5 of 255."""

    def forward(self, images):
        off = (255 * images.flatten(1).mean(1) - 100.5).abs() - 0.3
        return torch.stack([off, -off], 1)


def test_a_model_that_is_fooled_between_eight_bit_images_is_fooled_by_one_beside_the_line():
    """Search a class that contains no image of a single gray, but one in which 15 of its 48 values are lower."""
    clean = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    adversarial = to_unit(clean) + 0.51 / 255
    victim = Victim(Between(), 2, batch_size=1)
    found, logits = to_eight_bit(victim, clean, adversarial, Goal(torch.zeros(2, dtype=torch.long)))
    assert (logits.argmax(1) == 1).all()
    assert (Between()(to_unit(found)).argmax(1) == 1).all()
    assert victim.backwards.tolist() == [4, 4]


def test_deepfools_results_all_survive(cases):
    for case in cases.values():
        with freeze(case.model) as model:
            victim = Victim(model, len(case.images))
            floats = deepfool(victim, case.floats, case.goal, DeepFool(overshoot=0.0))
            stored = to_bytes(case.floats)
            found, logits = to_eight_bit(victim, stored, floats, case.goal)
            attacked = (floats != case.floats).flatten(1).any(1)
            assert bool(case.goal.clearly_reached(logits, victim.rows())[attacked].all())
            assert float(compute_margins(model(to_unit(found)), case.truth)[attacked].max()) < 0
        longer = (to_unit(found) - case.floats)[attacked].norm() / (floats - case.floats)[attacked].norm()
        assert 0.99 < float(longer) < 1.1


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 8 / 255), ("linf", 2.5 / 255), ("linf", 0.4 / 255), ("l2", 0.3), ("l2", 0.02)]
)
def test_rounding_stays_in_the_ball(norm, eps):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 16, 16), generator=generator).to(torch.uint8)
    clean = images.float() / 255
    edge = normalize(torch.randn(clean.shape, generator=generator), norm)
    adversarial = (clean + eps * edge).clamp(0, 1)
    rounded = round_into_ball(images, adversarial, Ball(norm, eps))
    change = (rounded.double() - images.double()).flatten(1) / 255
    assert float(torch.linalg.vector_norm(change, ord=torch.inf if norm == "linf" else 2, dim=1).max()) <= eps * (
        1 + 1e-5
    )
    if eps in (8 / 255, 0.3):
        assert float((rounded.float() / 255 - adversarial).abs().max()) <= 1 / 255
