"""The text of a first experiment file, with a comment for each choice."""

import json
from collections import Counter
from typing import Any

from raypipe.base.settings import Settings
from raypipe.execution.starter.look import Look
from raypipe.execution.starter.propose import Proposal
from raypipe.experiment.json_schema import SCHEMA_PATH

SPLITS = {
    "group": "no group is on both sides",
    "official": "the published one; groups are unknown, so it is stamped LEAKY",
    "paper": "at random, since groups are unknown: siblings on both sides would leak, so it is stamped LEAKY",
}


def write_text(
    name: str, data: Settings, look: Look, proposal: Proposal, groups: str, splits: str | None, estimate: str
) -> str:
    """Return the text of an experiment file.

    Parameters
    ----------
    name
        Name of the run.
    data
        Settings of the data set.
    groups
        Origin of the groups, for the comment.
    splits
        CSV with the side of each file; None if there is none.
    estimate
        Time that the run takes; "" if it was not estimated.
    """
    count = sum(look.counts.values())
    classes = ", ".join(f"{label} {look.counts[label]:,}" for label in look.labels)
    sizes = ", ".join(f"{width}x{height}" for (width, height), _ in Counter(look.sizes).most_common(3))
    more = f" and {len(look.sizes) - 3} other sizes" if len(look.sizes) > 3 else ""
    kind = "file is no image" if look.rejected == 1 else "files are no images"
    rejected = f"; {look.rejected:,} {kind} of a class" if look.rejected else ""
    attacked = "all test tiles" if proposal.tiles is None else f"{proposal.tiles} test tiles"
    held_out = proposal.split == "group"
    chosen = data.model_dump(include={"source"}) | data.model_dump(exclude_defaults=True)
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_PATH}",
        f"# A first experiment on {_put_on_one_line(getattr(data, 'path', name))}, written by `raypipe init`.",
        f"# Data:   {count:,} images{rejected}.",
        f"#         Classes: {_put_on_one_line(classes)}.",
        f"#         Sizes in pixels: {sizes or 'unknown'}{more}. Groups: {groups}.",
        f"# Takes:  {estimate or 'unknown: `raypipe plan FILE --estimate` tries it'}",
        "# Next:   `raypipe validate FILE`, `raypipe plan FILE --estimate`, `raypipe run FILE`.",
        f"name: {_write_value(name)}",
        "seed: 0",
        "storage: results  # a folder, or a URI such as s3://bucket/path",
        "",
        "data:",
        *(f"  {key}: {_write_value(value)}" for key, value in chosen.items()),
        *_write_cancer(data, look),
        "",
        "tiles:",
        f"  size: {proposal.size}  # images are resized to this height and width",
        *_write_bit_depth(look, proposal),
        *([f"  splits: {_write_value(splits)}  # the side of each file"] if splits else
          [f"  split: {proposal.split}  # {SPLITS[proposal.split]}"]),
        "",
        "models: [resnet18]  # `raypipe list models`; {resnet18: {weights: imagenet}} starts from pretrained weights",
        "",
        "train:",
        f"  epochs: {proposal.epochs}",
        f"  batch_size: {proposal.batch_size}",
        *([] if held_out else ["  validation: 0.1  # share of the training tiles that no fit trains on"]),
        "",
        "attacks:  # they also harden models where a defense learns their tiles; `raypipe list attacks`",
        "  deepfool:  # the smallest change that fools the model",
        f"  pgd: {{eps: {proposal.eps}/255}}  # usual for tiles of {proposal.size} pixels; in l2 about {proposal.l2:g}",
        "",
        "defenses:  # `raypipe list defenses`",
        f"  pgd_training: {{eps: {proposal.eps}/255}}",
        "",
        "evaluation:",
        *([f"  tiles: {proposal.tiles}  # attacked test tiles; leave it out to attack all"] if proposal.tiles else []),
        f"  curves: {{linf: [{proposal.eps // 2}/255, {proposal.eps}/255]}}  # radii of robust accuracy, on {attacked}",
        f"  checks: {{eps: {proposal.eps}/255}}",
        "",
        "resources:  # one process for each training; on a GPU add `gpu: true`",
        "  train_workers: 0",
        "  harden_workers: 0",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _write_bit_depth(look: Look, proposal: Proposal) -> list[str]:
    if proposal.bit_depth is None:
        return []
    seen = f"the brightest value of {len(look.dark)} sampled 16-bit images is {max(look.dark)}; check it"
    return [f"  bit_depth: {proposal.bit_depth}  # values up to {2**proposal.bit_depth - 1}: {seen}"]


def _write_cancer(data: Settings, look: Look) -> list[str]:
    """Return the line of the cancer classes, as a comment: a name alone does not prove it."""
    if "malignant" not in type(data).model_fields or getattr(data, "malignant", None):
        return []
    names = _write_value(look.cancer) if look.cancer else "[]"
    return [f"  # malignant: {names}  # check it, and remove the # to count missed cancers and false alarms"]


def _write_value(value: Any) -> str:
    """Return a value as YAML on one line: JSON is YAML, and quotes every text that could be read as something else."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_write_value, value))}]"
    plain = isinstance(value, str) and value.isascii() and value.replace("_", "a").replace("-", "a").isalnum()
    return str(value) if plain and not value[0].isdigit() and value.lower() not in WORDS else json.dumps(value)


WORDS = {"true", "false", "null", "yes", "no", "on", "off", "nan", "inf"}
"""Words that YAML reads as something else than text."""


def _put_on_one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
