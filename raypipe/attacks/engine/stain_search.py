"""Searches for the stain that misleads a model: along gradients, or by trials."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.draws import make_generators
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.losses import Strongest, margin
from raypipe.attacks.engine.tensors import TINY
from raypipe.attacks.engine.victim import Victim
from raypipe.data.stains import Basis, combine_stains, find_basis, separate_stains

Span = tuple[float, float]
NUMBERS = 4
"""Number of searched numbers: the factors of hematoxylin and eosin, and their shifts."""
FIRST_STEP = 0.5
"""First step of the gradient search, as a share of each range. Steps then shrink linearly to zero."""
NARROWEST = 0.05
"""Half-width of the last proposals around the best point, as a share of each range."""


@dataclass(frozen=True)
class _State:
    """State of the tiles whose stain is still searched along gradients."""

    rows: Tensor
    amounts: Tensor
    """(n, 3, h, w) amounts of the stains in the clean tile."""
    basis: Tensor
    """(n, 3, 3) colors of the stains."""
    places: Tensor
    """(n, 4) place of each number in its range, in [0, 1]."""
    steps: Tensor
    """Number of steps taken in this run."""


@dataclass(frozen=True)
class _Trials(_State):
    """State of the tiles whose stain is searched by trials."""

    draws: Tensor
    """(n, queries, 4) uniform draws in [0, 1) for each trial after the first."""
    chosen: Tensor
    """(n, 4) places of the best stain so far."""
    margins: Tensor
    """(n,) margins of the best stain."""


@dataclass(frozen=True, eq=False)
class StainSearch:
    """A search for the stain of each tile that raises the margin of a wrong class most.

    Parameters
    ----------
    victim, images, goal
        See `raypipe.attacks.base.Attack`.
    best
        Strongest tiles so far, to which the search offers its own.
    spans
        Ranges of the factors of hematoxylin and eosin, and of their shifts.
    basis
        Colors of the stains.
    seed
        Seed of the draws, which also depend on a tile's pixels.
    early_stop
        True if the search leaves a tile once the tile reaches the goal.
    """

    victim: Victim
    images: Tensor
    goal: Goal
    best: Strongest
    spans: tuple[Span, ...]
    basis: Basis
    seed: int
    early_stop: bool

    def follow_gradients(self, rows: Tensor, run: int, steps: int) -> None:
        """Climb from a random stain, with steps that shrink to zero.

        Parameters
        ----------
        rows
            (n,) positions of the tiles.
        run
            Number of the run, from 0; each starts at another stain.
        steps
            Number of steps.
        """

        def start(rows: Tensor) -> _State:
            return self._start(rows, _draw(self._make_generators(rows, run), 1)[:, 0])

        def step(state: _State) -> _State:
            places = state.places.detach().requires_grad_()
            stained = render(state.amounts, state.basis, places, self.spans)
            logits = self.victim.logits(stained, state.rows)
            loss, fooled = margin(logits, self.goal, state.rows), self.goal.clearly_reached(logits, state.rows)
            self.best.offer(state.rows, stained.detach(), loss.detach(), fooled)
            going = ~(fooled & self.early_stop) & (state.steps < steps)
            if not bool(going.any()):
                return keep(state, going)
            slopes = self.victim.gradient(loss[going].sum(), places, state.rows[going])
            size = FIRST_STEP * (1 - state.steps[:, None] / steps)
            moved = places.detach() + size * slopes / slopes.abs().amax(1, keepdim=True).clamp_min(TINY)
            return keep(replace(state, places=moved.clamp(0, 1), steps=state.steps + 1), going)

        run_active(self.victim, rows, start, step)

    def try_stains(self, rows: Tensor, queries: int) -> None:
        """Try random stains: the first half from the whole ranges, the others ever nearer to the best one.

        Parameters
        ----------
        rows
            (n,) positions of the tiles.
        queries
            Number of trials. The first is the stain at which `follow_gradients` starts its first run.
        """

        def start(rows: Tensor) -> _Trials:
            generators = self._make_generators(rows, run=0)
            state = self._start(rows, _draw(generators, 1)[:, 0])
            draws, nothing_yet = _draw(generators, queries), torch.full_like(state.places[:, 0], -torch.inf)
            return _Trials(**vars(state), draws=draws.to(self.images), chosen=state.places, margins=nothing_yet)

        def step(state: _Trials) -> _Trials:
            with torch.no_grad():
                stained = render(state.amounts, state.basis, state.places, self.spans)
                logits = self.victim.logits(stained, state.rows)
            margins, fooled = margin(logits, self.goal, state.rows), self.goal.clearly_reached(logits, state.rows)
            self.best.offer(state.rows, stained, margins, fooled)
            better = margins > state.margins
            state = replace(
                state,
                chosen=torch.where(better[:, None], state.places, state.chosen),
                margins=torch.where(better, margins, state.margins),
                steps=state.steps + 1,
            )
            state = keep(state, ~(fooled & self.early_stop) & (state.steps < queries))
            return replace(state, places=_propose(state, queries))

        run_active(self.victim, rows, start, step)

    def _start(self, rows: Tensor, places: Tensor) -> _State:
        images = self.images[rows]
        basis = find_basis(images, self.basis)
        return _State(rows, separate_stains(images, basis), basis, places.to(images), torch.zeros_like(rows))

    def _make_generators(self, rows: Tensor, run: int) -> list[torch.Generator]:
        return make_generators(self.images[rows], key=f"stain {self.seed} {run}")


def render(amounts: Tensor, basis: Tensor, places: Tensor, spans: tuple[Span, ...]) -> Tensor:
    """Return stained tiles (n, 3, h, w) in steps of 1/255; gradients pass the rounding unchanged.

    Parameters
    ----------
    amounts, basis
        (n, 3, h, w) amounts of the stains and (n, 3, 3) their colors. The third stain is kept.
    places
        (n, 4) place of each number in its range, in [0, 1].
    spans
        Ranges of the factors of hematoxylin and eosin, and of their shifts.
    """
    low, high = torch.tensor(spans).to(places).unbind(1)
    numbers = torch.lerp(low, high, places)
    kept = torch.ones_like(places[:, :1])
    factors, shifts = torch.cat([numbers[:, :2], kept], 1), torch.cat([numbers[:, 2:], 0 * kept], 1)
    stained = combine_stains(amounts * factors[:, :, None, None] + shifts[:, :, None, None], basis)
    return stained + (stained.detach().mul(255).round().div(255) - stained.detach())


def _draw(generators: list[torch.Generator], count: int) -> Tensor:
    return torch.stack([torch.rand(count, NUMBERS, generator=generator) for generator in generators])


def _propose(state: _Trials, queries: int) -> Tensor:
    """Return the next places (n, 4): anywhere in the first half of the queries, then ever nearer to the best ones."""
    drawn = state.draws[torch.arange(len(state.rows), device=state.rows.device), state.steps]
    share = (state.steps / queries)[:, None]
    width = NARROWEST + (1 - share) * (1 - 2 * NARROWEST)
    near = (state.chosen + width * (2 * drawn - 1)).clamp(0, 1)
    return torch.where(share < 0.5, drawn, near)
