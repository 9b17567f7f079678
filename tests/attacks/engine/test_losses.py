import pytest
import torch
from torch.nn import functional as F

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.losses import Strongest, cross_entropy, difference_of_logits_ratio, margin


@pytest.fixture
def logits():
    return torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double).requires_grad_()


LABELS = torch.arange(40) % 5
ROWS = torch.arange(20) + 7


def gradient(loss, logits):
    return torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("targeted", [False, True])
def test_cross_entropy_has_the_order_and_the_direction_of_the_textbook_s(logits, targeted):
    sign = -1 if targeted else 1
    expected = sign * F.cross_entropy(logits, LABELS[ROWS], reduction="none")
    found = cross_entropy(logits, Goal(LABELS, targeted), ROWS)
    assert torch.equal(found.argsort(), expected.argsort())
    directions = [F.normalize(gradient(loss, logits)) for loss in (expected, found)]
    torch.testing.assert_close(*directions)


def test_cross_entropy_has_a_gradient_where_the_model_is_sure():
    logits = torch.tensor([[200.0, 0.0, -1.0]], requires_grad=True)
    labels, rows = torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    assert not gradient(F.cross_entropy(logits, labels), logits).any()
    found = gradient(cross_entropy(logits, Goal(labels), rows), logits)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.7311, 0.2689]]), atol=1e-4, rtol=0)


def test_margin_is_positive_where_the_goal_is_reached(logits):
    for targeted in (False, True):
        goal = Goal(LABELS, targeted)
        assert torch.equal(margin(logits, goal, ROWS) > 0, goal.reached(logits, ROWS))


def test_the_ratio_of_differences_by_hand():
    logits = torch.tensor([[5.0, 1.0, 3.0, 0.0], [5.0, 1.0, 3.0, 0.0]])
    labels = torch.tensor([0, 2])
    torch.testing.assert_close(difference_of_logits_ratio(logits, labels), torch.tensor([-2 / 4, 2 / 4]))
    targets = torch.tensor([1, 3])
    expected = torch.tensor([-4 / 4.5, -3 / 4.5])
    torch.testing.assert_close(difference_of_logits_ratio(logits, labels, targets), expected)
    torch.testing.assert_close(difference_of_logits_ratio(100 * logits, labels, targets), expected)


def test_the_ratio_needs_classes():
    labels = torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="dlr needs 3 classes, the model has 2; say `cross_entropy`"):
        difference_of_logits_ratio(torch.rand(1, 2), labels)
    with pytest.raises(ValueError, match="targeted dlr needs 4 classes, the model has 3"):
        difference_of_logits_ratio(torch.rand(1, 3), labels, labels + 1)


def test_a_point_that_fools_is_stronger_than_one_of_larger_loss():
    best = Strongest(torch.zeros(2, 1, 1, 1))
    rows, points = torch.tensor([1]), torch.ones(1, 1, 1, 1)
    for value, loss, fools in [(1, 0.5, False), (2, 0.4, False), (3, 0.1, True), (4, 0.9, False), (5, 0.2, True)]:
        best.offer(rows, value * points, torch.tensor([loss]), torch.tensor([fools]))
        assert float(best.images[1]) == {1: 1, 2: 1, 3: 3, 4: 3, 5: 5}[value]
    assert float(best.images[0]) == 0
    assert best.fooled.tolist() == [False, True]
