"""Half precision: attacks whose own passes are in float16 or bfloat16, and Defense-GAN, which projects in float32."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.attacks.contestants import EPS
from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import timed
from benchmarks.gpu.victim import Victim, load_victim, loader_workers
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.deepfool import DeepFool
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.defenses.defense_gan import DefenseGan
from raypipe.models.classifier import Classifier
from raypipe.models.precision import full_precision
from raypipe.training.fit import Fit
from raypipe.training.recipe import Recipe

HALVES = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


def compare_precisions(options: Options) -> None:
    """Measure two attacks on the victim in each precision of their passes."""
    victim = load_victim(options)
    attacks = {"deepfool": DeepFool(), "pgd": ProjectedGradient(norm="linf", eps=EPS, max_iterations=20)}
    for precision, prepared in _forms(victim.model, victim, options):
        options.note(precision=precision, **logit_error(prepared, victim.floats(options.device)))
        for name, settings in attacks.items():
            options.note(precision=precision, attack=name, **attack(prepared, victim, settings, options))


def defend(options: Options) -> None:
    """Train the generator of Defense-GAN, and measure predictions and an adaptive attack through its projection."""
    victim, sizes = load_victim(options), options.sizes
    defense = DefenseGan(epochs=sizes.gan_epochs, steps=2 if options.quick else 50)
    network, normalization = victim.model.network, victim.model.normalization
    torch.manual_seed(0)
    model = Classifier(network, *normalization, input_transform=defense.build_input_transform()).to(options.device)
    recipe = defense.adapt_recipe(Recipe(batch_size=sizes.batch))
    steps = defense.prepare_training(victim.model, recipe, model)
    dataset = victim.training_tiles(sizes.tile_repeats)
    fit = Fit(
        model, recipe, -(-len(dataset) // sizes.batch), device=options.device, seed=0, objective=steps.objective,
        input_rule=steps.inputs,
    )  # fmt: skip
    records, seconds = timed(lambda: list(fit.epochs(dataset, sizes.batch, loader_workers(options))), options.device)
    tiles = sum(record.tiles for record in records)
    options.note(
        what="training", tiles=tiles, seconds=seconds, images_per_second=tiles / seconds, loss=records[-1].loss
    )
    model.eval()
    images, labels = victim.floats(options.device), victim.labels.to(options.device)
    with torch.no_grad(), full_precision():
        model(images)
        logits, seconds = timed(lambda: model(images), options.device)
    accuracy = float((logits.argmax(1) == labels).float().mean())
    options.note(what="prediction", seconds=seconds, images_per_second=len(images) / seconds, accuracy=accuracy)
    settings = ProjectedGradient(norm="linf", eps=EPS, max_iterations=5)
    for precision, prepared in _forms(model, victim, options):
        options.note(what="projection", precision=precision, **logit_error(prepared, images))
        options.note(what="adaptive pgd 5", precision=precision, **attack(prepared, victim, settings, options))


def _forms(model: Classifier, victim: Victim, options: Options) -> Iterator[tuple[str, PreparedModel]]:
    shape = (3, *victim.images.shape[1:3])
    for precision, half in HALVES.items():
        prepared = prepare(model, shape, device=options.device, batch_size=len(victim.labels), half=half)
        yield precision, prepared if half else replace(prepared, fast=prepared.exact)


def logit_error(prepared: PreparedModel, images: Tensor) -> dict[str, float]:
    """Return the largest error of the logits of the attack's passes, relative to the largest logit, and agreement."""
    with torch.no_grad(), full_precision():
        fast, plain = prepared.fast(images), prepared.plain(images)
    error = float((fast - plain).abs().max() / plain.abs().max())
    return {"logit_error": error, "agreement": float((fast.argmax(1) == plain.argmax(1)).float().mean())}


def attack(prepared: PreparedModel, victim: Victim, settings: NamedAttack, options: Options) -> dict[str, Any]:
    """Return images a second, success and distortion of stored tiles, on the tiles that the model classifies right."""
    images, labels = victim.images.numpy(), victim.labels.numpy()
    made, seconds = timed(lambda: generate(replace(prepared), images, labels, settings), options.device)
    right = made.clean_prediction == labels
    return {
        "tiles": int(right.sum()),
        "seconds": seconds,
        "images_per_second": len(labels) / seconds,
        "success": float(made.success[right].mean()) if right.any() else None,
        "success_of_floats": float(made.float_success[right].mean()) if right.any() else None,
        "l2_median": float(np.median(made.l2[made.success])) if made.success.any() else None,
    }
