"""Data sets with some of their classes, and with classes that are mapped to those of another data set."""

import pytest

from raypipe.data.class_choice import choose_classes, map_classes
from raypipe.data.sources import open_source
from raypipe.data.sources.synthetic import Synthetic
from raypipe.experiment.load import validate_experiment
from raypipe.plan.listing import list_files

TISSUE = Synthetic(sources_per_class=2, siblings=1, size=32)
COLON = ("colon_aca", "colon_n")


def test_only_the_chosen_classes_are_listed_in_the_order_of_the_data_set() -> None:
    whole = open_source(TISSUE, 0)
    chosen = open_source(TISSUE.model_copy(update={"classes": COLON[::-1]}), 0)
    assert chosen.labels == COLON
    assert chosen.malignant == ("colon_aca",)
    assert chosen.list() == [ref for ref in whole.list() if ref.label_name in COLON]
    path = chosen.list()[0].path
    assert chosen.read(path) == whole.read(path)


def test_an_experiment_may_have_some_classes_of_its_data_set() -> None:
    raw = {
        "name": "colon",
        "data": {"source": "synthetic", "sources_per_class": 4, "siblings": 1, "size": 32, "classes": list(COLON)},
        "models": ["convnet"],
        "attacks": ["fgsm"],
    }
    (listing,) = list_files(validate_experiment(raw))
    assert {item.ref.label_name for item in listing.items} == set(COLON)


def test_mapped_classes_get_the_labels_of_the_other_data_set_and_the_rest_is_rejected() -> None:
    source = open_source(TISSUE, 0)
    mapped = map_classes(source, {"lung_aca": "cancer", "lung_scc": "cancer", "lung_n": "benign"}, ("benign", "cancer"))
    assert mapped.labels == ("benign", "cancer")
    assert mapped.malignant == ("cancer",)
    names = [ref.label_name for ref in mapped.list()]
    assert [names.count(name) for name in ("benign", "cancer", None)] == [2, 4, 4]
    assert {ref.problem for ref in mapped.list()} == {
        None, "class colon_aca is not mapped", "class colon_n is not mapped"
    }  # fmt: skip


def test_the_content_of_a_mapped_data_set_depends_on_the_mapping() -> None:
    source = open_source(TISSUE, 0)
    one, other = (map_classes(source, {"lung_n": name}, ("a", "b")) for name in "ab")
    assert one.fingerprint(one.list()) != other.fingerprint(other.list())
    assert one.fingerprint(one.list()) == map_classes(source, {"lung_n": "a"}, ("a", "b")).fingerprint(one.list())


def test_unknown_classes_are_named_with_the_known_ones() -> None:
    source = open_source(TISSUE, 0)
    with pytest.raises(ValueError, match=r"classes: 'colon_m': the data set has no such class; it has colon_aca, colo"):
        choose_classes(source, ("colon_m", "colon_aca"))
    with pytest.raises(ValueError, match=r"labels: 'polyp': this data set has no such class; .*lung_scc"):
        map_classes(source, {"polyp": "a"}, ("a",))
    with pytest.raises(ValueError, match=r"labels: 'benin': the experiment's .* has benign; did you mean 'benign'\?"):
        map_classes(source, {"lung_n": "benin"}, ("benign",))
