import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.defenses.adversarial_training import AdversarialTraining, choose_tiles
from raypipe.training.recipe import Recipe


@given(tiles=st.integers(1, 500), mix=st.floats(0.01, 1.0), seed=st.integers(0, 3))
def test_the_mix_is_what_was_asked_for_and_one_side_is_used_whole(tiles: int, mix: float, seed: int) -> None:
    clean, perturbed = choose_tiles(tiles, mix, seed)
    assert len(perturbed) >= 1
    assert max(len(clean), len(perturbed)) == tiles
    assert abs(len(perturbed) - mix * (len(clean) + len(perturbed))) <= 1
    for side in (clean, perturbed):
        assert len(set(side.tolist())) == len(side)


def test_half_and_half_uses_every_tile_both_ways() -> None:
    clean, perturbed = choose_tiles(5, 0.5, 0)
    assert clean.tolist() == perturbed.tolist() == [0, 1, 2, 3, 4]


def test_perturbed_tiles_alone() -> None:
    clean, perturbed = choose_tiles(5, 1.0, 0)
    assert len(clean) == 0
    assert len(perturbed) == 5


def test_the_fine_tuning_differs_from_training_in_what_the_defense_sets() -> None:
    base = Recipe(epochs=10, learning_rate=1e-3, batch_size=16, precision="bf16")
    assert AdversarialTraining(epochs=2, learning_rate=1e-4).adapt_recipe(base) == base.model_copy(
        update={"epochs": 2, "learning_rate": 1e-4, "augment": ("flips_and_turns",)}
    ), "stored perturbations are turned, and never recolored"


@pytest.mark.parametrize("search", [{"mix": [0.0]}, {"epochs": [0]}, {"learning_rate": [-1]}, {"weight": [1]}])
def test_a_search_is_validated_like_the_settings_it_replaces(search: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="search"):
        AdversarialTraining.model_validate({"search": search})
