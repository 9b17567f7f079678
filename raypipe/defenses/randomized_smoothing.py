"""Randomized smoothing (Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918): vote over noise, and certify in L2.

A short perturbation cannot change the class that most noisy copies of a tile get. `certify` proves this, with a
probability of error of `alpha` for each tile. Attacks see the mean over `samples` draws and follow its gradient:
see `raypipe.models.transforms.gaussian_smoothing`. The certificate holds for infinitely many draws, but the attacked
model uses only `samples` draws.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from raypipe.attacks.engine.draws import make_generators
from raypipe.base.norms import Norm
from raypipe.base.predictions import NO_CLASS
from raypipe.defenses.base import Certificates, CertifiedDefense
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing

BATCH = 128


class RandomizedSmoothing(CertifiedDefense):
    """Settings of randomized smoothing.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, with pixels in [0, 1]; the authors take 0.25. More noise gives larger radii and
        less accuracy.
    samples
        Number of draws that a prediction under attack averages over. Every pass of the model costs as many passes.
    epochs, learning_rate
        Settings of the fine-tuning with one draw of noise per tile and epoch. With 0 epochs the undefended model stays
        unchanged.
    selection, estimation
        Numbers of draws of a certificate: to select the class, and to bound its share of the votes. The authors take
        100 and 100,000. The largest radius that n draws can prove is sigma times the normal quantile of
        ``alpha ** (1 / n)``.
    alpha
        Probability that a certificate is wrong.
    """

    certified_norm: ClassVar[Norm] = "l2"

    name: Literal["randomized_smoothing"] = "randomized_smoothing"
    sigma: float = Field(0.25, gt=0)
    samples: int = Field(16, ge=1)
    epochs: int = Field(5, ge=0)
    learning_rate: float = Field(5e-4, gt=0)
    selection: int = Field(50, ge=1)
    estimation: int = Field(1000, ge=1)
    alpha: float = Field(0.001, gt=0, lt=1)

    def build_input_transform(self) -> GaussianSmoothing:
        """Return the Gaussian smoothing, which acts in training and under attack."""
        return GaussianSmoothing(sigma=self.sigma, samples=self.samples)

    @torch.no_grad()
    def certify(self, model: Classifier, images: NDArray[np.uint8], device: torch.device, seed: int) -> Certificates:
        """Return the class of most draws for each tile, and the radius from its Clopper-Pearson bound.

        This is the authors' algorithm CERTIFY.
        """
        drawn = self.selection + self.estimation
        predictions, radii = [], []
        for image in images:
            tile = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
            (generator,) = make_generators(tile[None], f"certify {seed}")
            voted = []
            for begin in range(0, drawn, BATCH):
                count = min(BATCH, drawn - begin)
                noise = self.sigma * torch.randn(count, *tile.shape, generator=generator)
                voted.append(model.classify((tile + noise).to(device)).argmax(1).cpu())
            votes = torch.cat(voted).numpy()
            chosen = int(np.bincount(votes[: self.selection]).argmax())
            for_it = int((votes[self.selection :] == chosen).sum())
            radius = self.sigma * compute_vote_quantile(for_it, self.estimation, self.alpha)
            predictions.append(chosen if radius > 0 else NO_CLASS)
            radii.append(max(0.0, radius))
        return Certificates(np.array(predictions), np.array(radii), np.full(len(images), drawn))


def compute_vote_quantile(votes: int, draws: int, alpha: float) -> float:
    """Return the standard normal quantile of a share's lower Clopper-Pearson bound, negative for bounds below 0.5.

    Parameters
    ----------
    votes, draws
        Number of votes, and number of draws; the share is their ratio.
    alpha
        Probability that the true share is smaller than the bound.
    """
    from scipy.special import betaincinv, ndtri  # noqa: PLC0415  slow, and only certificates need it

    bound = betaincinv(votes, draws - votes + 1, alpha) if votes else 0.0
    return float(ndtri(bound))
