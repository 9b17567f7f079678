import numpy as np
import pytest

from raypipe.attacks.adversarial_patch import AdversarialPatch, adversarial_patch, choose_patch_size
from raypipe.attacks.engine.threat import get_threat_model
from raypipe.attacks.engine.victim import Victim, freeze

SIZES = [
    (0.05, 64, 64, (14, 14)),
    (1.0, 16, 16, (16, 16)),
    (0.5, 4, 64, (4, 32)),
    (0.5, 64, 4, (32, 4)),
    (0.004, 16, 16, (1, 1)),
]


@pytest.mark.parametrize(("area", "height", "width", "size"), SIZES)
def test_the_patch_is_the_largest_that_the_area_allows(area, height, width, size):
    assert choose_patch_size(area, height, width) == size
    assert size[0] * size[1] <= area * height * width + 1e-9


def test_an_area_below_a_pixel_is_an_error():
    with pytest.raises(ValueError, match=r"area = 0\.001: less than a pixel of a tile of 16 x 16"):
        choose_patch_size(0.001, 16, 16)


@pytest.mark.parametrize("position", ["search", "random"])
def test_stored_changes_lie_in_one_rectangle_of_the_area(cases, position):
    case = cases[5]
    result = case.attacked(AdversarialPatch(area=0.25, position=position, max_iterations=10), batch_size=16)
    assert result.success.sum() >= 5
    changed = (result.images != case.images).any(3)
    for tile in changed[result.success]:
        rows, columns = np.flatnonzero(tile.any(1)), np.flatnonzero(tile.any(0))
        assert np.ptp(rows) < 8
        assert np.ptp(columns) < 8


def test_a_searched_position_fools_no_fewer_tiles_than_a_random_one(cases):
    fooled = {
        position: sum(
            case.attacked(AdversarialPatch(area=0.1, position=position, max_iterations=10, restarts=1)).success.sum()
            for case in (cases[5], cases[10])
        )
        for position in ("search", "random")
    }
    assert fooled["search"] >= fooled["random"]


def test_a_second_position_is_another_place(cases):
    """Compare the patches of one and of two restarts on tiles that the first one does not fool."""
    case = cases[5]
    settings = AdversarialPatch(area=0.06, max_iterations=4, early_stop=True)
    with freeze(case.model) as model:
        once, twice = (
            adversarial_patch(
                Victim(model, len(case.images)), case.floats, case.goal, settings.model_copy(update={"restarts": count})
            )
            for count in (1, 2)
        )
    places = [(found != case.floats).any(1).flatten(1) for found in (once, twice)]
    other = (places[0] != places[1]).any(1) & places[1].any(1)
    assert other.any()
    assert bool((places[0] & places[1])[other].sum(1).max() < 9)


def test_the_threat_model_names_the_area():
    threat = get_threat_model(AdversarialPatch(area=0.02))
    assert str(threat) == "patch on 2 % of the area, anywhere, white-box, untargeted, 8-bit"
    assert (threat.norm, threat.eps, threat.limits) == ("none", None, "patch on 2 % of the area, anywhere")


def test_another_seed_is_another_patch(cases):
    found = [cases[3].attacked(AdversarialPatch(area=0.1, max_iterations=2, seed=seed)).images for seed in (0, 1)]
    assert not np.array_equal(*found)
