"""The stain attack: it stays within its ranges, and its searches find what a random draw finds, and more."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from raypipe.attacks import AttackSettings
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.stain_search import NUMBERS, render
from raypipe.attacks.engine.threat import get_threat_model
from raypipe.attacks.engine.victim import Victim
from raypipe.attacks.stain import StainAttack, stain_attack
from raypipe.base.predictions import NO_CLASS
from raypipe.data.stains import STAINS, combine_stains, find_basis, separate_stains
from raypipe.data.tissue import render_tile
from tests.attacks.conftest import Case

RANGES: dict[str, Any] = {
    "hematoxylin_factor": (0.6, 2.5),
    "eosin_factor": (0.5, 2.5),
    "hematoxylin_shift": (-0.3, 0.4),
    "eosin_shift": (-0.3, 0.3),
}
SEARCHES = ("gradient", "random", "draw")


def attack(**settings: Any) -> StainAttack:
    return StainAttack(**{"max_iterations": 8, "restarts": 3, "max_queries": 40} | RANGES | settings)


@pytest.fixture(scope="module")
def tissue() -> Tensor:
    """Return tissue tiles, (4, 3, 40, 40) in [0, 1]."""
    drawn = [render_tile(label, source, 0, size=40, seed=0) for label in ("colon_n", "lung_aca") for source in (0, 1)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255


def clear_pixels(before: Tensor, after: Tensor) -> Tensor:
    """Return a mask (h, w) of the pixels that are far from black and white, where nothing is clipped."""
    return ((after > 0.15) & (after < 0.98) & (before > 0.1)).all(0)


def fit_stains(before: Tensor, after: Tensor) -> list[tuple[float, float]]:
    """Return the factor and the shift of each stain of a tile (3, h, w), from pixels that are far from black and white.

    It is an independent computation: a line through the amounts before and after, for each stain.
    """
    amounts = [separate_stains(tile[None])[0].flatten(1).numpy() for tile in (before, after)]
    inside = clear_pixels(before, after).flatten().numpy()
    assert inside.sum() >= 40
    lines = [np.polyfit(amounts[0][stain][inside], amounts[1][stain][inside], 1) for stain in range(3)]
    return [(float(slope), float(offset)) for slope, offset in lines]


@pytest.mark.parametrize("search", SEARCHES)
def test_stored_tiles_never_leave_the_ranges(cases: dict[int, Case], search: str) -> None:
    case, settings = cases[5], attack(search=search)
    result = case.attacked(settings)
    changed = torch.from_numpy(result.images).permute(0, 3, 1, 2).float() / 255
    judged = 0
    for before, after, right in zip(case.floats, changed, result.clean_prediction == case.labels, strict=True):
        if not right or clear_pixels(before, after).sum() < 40:
            continue
        (hematoxylin, eosin, third) = fit_stains(before, after)
        for (factor, shift), name in ((hematoxylin, "hematoxylin"), (eosin, "eosin")):
            low, high = RANGES[f"{name}_factor"]
            assert low - 0.02 <= factor <= high + 0.02
            low, high = RANGES[f"{name}_shift"]
            assert low - 0.02 <= shift <= high + 0.02
        assert third == pytest.approx((1, 0), abs=0.02)
        judged += 1
    assert judged >= 4


def test_a_place_in_the_ranges_gives_that_factor_and_shift(tissue: Tensor) -> None:
    basis = find_basis(tissue, "hed")
    places = torch.full((4, NUMBERS), 0.25)
    spans = tuple(attack().spans)
    stained = render(separate_stains(tissue, basis), basis, places, spans)
    assert torch.equal(stained.mul(255).round() / 255, stained)
    wanted = [low + 0.25 * (high - low) for low, high in spans]
    (factor, shift), (other, moved), third = fit_stains(tissue[0], stained[0])
    assert [factor, other, shift, moved] == pytest.approx(wanted, abs=0.03)
    assert third == pytest.approx((1, 0), abs=0.03)


def test_each_search_fools_all_that_the_draw_fools_and_more(cases: dict[int, Case]) -> None:
    fooled = {search: cases[5].attacked(attack(search=search)).success for search in SEARCHES}
    for search in ("gradient", "random"):
        assert not (fooled["draw"] & ~fooled[search]).any()
        assert fooled[search].sum() > fooled["draw"].sum()


def test_more_restarts_never_fool_fewer_tiles(cases: dict[int, Case]) -> None:
    one, three = (cases[5].attacked(attack(restarts=count, max_iterations=2)).success for count in (1, 3))
    assert not (one & ~three).any()


@pytest.mark.parametrize("search", SEARCHES)
def test_success_is_that_of_the_rounded_tile_and_no_stretch_follows(cases: dict[int, Case], search: str) -> None:
    result = cases[5].attacked(attack(search=search))
    attacked = result.clean_prediction != NO_CLASS
    np.testing.assert_array_equal(result.success[attacked], result.float_success[attacked])
    np.testing.assert_allclose(result.l2, result.float_l2, atol=1e-4)


def test_another_seed_draws_other_stains_and_the_same_one_repeats(cases: dict[int, Case]) -> None:
    first, second, other = (cases[5].attacked(attack(search="draw", seed=seed)).images for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_it_can_aim_at_a_class(cases: dict[int, Case]) -> None:
    result = cases[3].attacked(attack(target="runner_up"))
    assert result.success.any()


@pytest.mark.parametrize(
    ("search", "knowledge"), [("gradient", "white-box"), ("random", "score-based"), ("draw", "none")]
)
def test_its_threat_model_names_the_ranges_and_no_norm(search: str, knowledge: str) -> None:
    threat = get_threat_model(attack(search=search))
    assert (threat.norm, threat.eps, threat.knowledge) == ("none", None, knowledge)
    assert "times 0.6 to 2.5 and 0.5 to 2.5, plus -0.3 to 0.4 and -0.3 to 0.3; no pixel norm" in str(threat)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eosin_factor": [1.2, 2]}, r"eosin_factor = \[1.2, 2\]: expected 0 <= lowest <= 1 <= highest"),
        ({"hematoxylin_factor": [-1, 2]}, r"hematoxylin_factor = \[-1, 2\]: expected 0 <= lowest"),
        ({"eosin_shift": [0.1, 0.2]}, r"eosin_shift = \[0.1, 0.2\]: expected lowest <= 0 <= highest"),
    ],
)
def test_a_range_without_the_unchanged_stain_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AttackSettings).validate_python({"name": "stain", **settings})


def test_the_ranges_are_those_of_the_colors() -> None:
    hed, macenko = StainAttack(basis="hed").spans, StainAttack(basis="macenko").spans
    assert StainAttack().spans == hed != macenko
    own = StainAttack(basis="macenko", eosin_factor=(0.9, 1.1))
    assert own.spans == (macenko[0], (0.9, 1.1), *macenko[2:])


def test_gray_images_are_refused() -> None:

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    with pytest.raises(ValueError, match="1 channels: expected 3"):
        stain_attack(Victim(model, 1), torch.zeros(1, 1, 4, 4), Goal(torch.zeros(1, dtype=torch.long)), StainAttack())


class TestMacenko:
    """The colors of a tile's own stains."""

    def test_the_colors_that_a_tile_was_drawn_with_are_found(self) -> None:
        colors = torch.nn.functional.normalize(torch.tensor([[0.55, 0.75, 0.36], [0.15, 0.9, 0.4]]), dim=1)
        random = torch.Generator().manual_seed(0)
        kind = torch.rand(2, 48, 48, generator=random) < 0.3
        amounts = torch.where(kind, 0.05, 1.0) * (0.5 + torch.rand(2, 48, 48, generator=random))
        third = torch.nn.functional.normalize(torch.linalg.cross(colors[0], colors[1])[None], dim=1)
        image = combine_stains(torch.cat([amounts, 0 * amounts[:1]])[None], torch.cat([colors, third])[None])
        (found,) = find_basis(image, "macenko")
        assert (found[:2] * colors).sum(1).min() > 0.99  # within 8 degrees
        assert abs(float(found[2] @ third[0])) > 0.999

    def test_they_describe_the_tile_completely(self, tissue: Tensor) -> None:
        basis = find_basis(tissue, "macenko")
        torch.testing.assert_close(combine_stains(separate_stains(tissue, basis), basis), tissue, atol=1e-4, rtol=0)

    def test_a_blank_tile_has_the_published_colors(self) -> None:
        basis = find_basis(torch.full((1, 3, 8, 8), 0.98), "macenko")
        torch.testing.assert_close(basis, torch.tensor(STAINS)[None])
