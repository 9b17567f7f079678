"""Training in single precision and bfloat16, with and without a compiled network, beside a plain loop."""

import torch
from torch import nn

from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import timed
from benchmarks.gpu.victim import Victim, build, load_victim, loader_workers
from raypipe.training.fit import Fit
from raypipe.training.recipe import Recipe

CASES = (("fp32", False), ("bf16", False), ("bf16", True), ("fp32", True))
"""Precision, and True for a compiled network. The compiled ones come last, because compilation takes long."""


def train(options: Options) -> None:
    """Measure a fit for each case, and a plain loop for each precision."""
    victim = load_victim(options)
    for precision, compiled in CASES:
        options.note(precision=precision, compile=compiled, **measure_fit(victim, options, precision, compiled))
        if not compiled:
            options.note(precision=precision, loop="plain", **measure_loop(victim, options, precision))


def measure_fit(victim: Victim, options: Options, precision: str, compiled: bool) -> dict[str, object]:
    """Return the seconds of each epoch of a fit, and the images a second of the fastest.

    The first epoch has the start of the loader and, where the network is compiled, the compilation.
    """
    sizes, model = options.sizes, build(options)
    recipe = Recipe(epochs=sizes.epochs, batch_size=sizes.batch, precision=precision, compile=compiled)
    dataset = victim.training_tiles(sizes.tile_repeats)
    fit = Fit(model, recipe, -(-len(dataset) // sizes.batch), device=options.device, seed=0)
    epochs = fit.epochs(dataset, sizes.batch, loader_workers(options))
    records = [timed(lambda: next(epochs), options.device) for _ in range(sizes.epochs)]
    seconds = [spent for _, spent in records]
    tiles, loss = records[-1][0].tiles, records[-1][0].loss
    return {"tiles": tiles, "seconds": seconds, "images_per_second": tiles / min(seconds), "loss": loss}


def measure_loop(victim: Victim, options: Options, precision: str) -> dict[str, object]:
    """Return the same for a loop over tiles that are on the device already: passes and the optimizer's steps alone."""
    sizes, model = options.sizes, build(options).train()
    count = len(victim.train_labels) * sizes.tile_repeats
    images = victim.train_images.permute(0, 3, 1, 2).repeat(sizes.tile_repeats, 1, 1, 1).to(options.device)
    labels = victim.train_labels.repeat(sizes.tile_repeats).to(options.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)

    def run_epoch() -> float:
        for chosen in torch.randperm(count, device=options.device).split(sizes.batch):
            with torch.autocast(options.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = nn.functional.cross_entropy(model(images[chosen].float() / 255), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return float(loss)

    epochs = [timed(run_epoch, options.device) for _ in range(sizes.epochs)]
    seconds = [spent for _, spent in epochs]
    return {"tiles": count, "seconds": seconds, "images_per_second": count / min(seconds), "loss": epochs[-1][0]}
