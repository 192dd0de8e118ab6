"""Loss: how far outputs are from what happened: one small function a loss, a number for each row and value.

Targets have the shape of the values, logits one more dimension where there is one a class. Nothing is reduced here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Of a probability ``sigmoid(logits)`` and a target of 0 or 1."""
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Cross-entropy that counts less where the model is already right: ``-a (1 - p)^gamma log p`` of the true class.

    Lin et al. 2017, "Focal loss for dense object detection".
    """
    surprise = binary_cross_entropy(logits, target)  # -log p
    weight = alpha * target + (1 - alpha) * (1 - target)
    return weight * (1 - torch.exp(-surprise)) ** gamma * surprise


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Of ``softmax(logits)`` [n, classes] and class codes [n], or shares [n, classes] that add up to 1."""
    if target.ndim == 1:
        return functional.cross_entropy(logits, target, reduction="none")
    return -(target * torch.log_softmax(logits, dim=1)).sum(dim=1)


def ordinal_log(logits: Tensor, target: Tensor, power: float = 1.5) -> Tensor:
    """Classes in an order, [n, classes] and codes [n]: ``-sum |i - y|^power log(1 - p_i)``; far mistakes cost more.

    Castagnos et al. 2022, "A simple log-based loss function for ordinal text classification".
    """
    others = torch.log1p(-torch.softmax(logits, dim=1).clamp(max=1 - 1e-6))
    distance = (torch.arange(logits.shape[1], device=logits.device) - target.unsqueeze(1)).abs().to(others.dtype)
    return -(distance**power * others).sum(dim=1)


def mae(values: Tensor, target: Tensor) -> Tensor:
    """The absolute error."""
    return functional.l1_loss(values, target, reduction="none")


def mse(values: Tensor, target: Tensor) -> Tensor:
    """The squared error."""
    return (values - target) ** 2


def huber(values: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """Half the squared error up to ``delta``, a straight line from there on (Huber 1964)."""
    return functional.huber_loss(values, target, reduction="none", delta=delta)


def wape(values: Tensor, target: Tensor) -> Tensor:
    """The absolute error over the mean absolute target of all rows, at least 1e-6."""
    return mae(values, target) / target.abs().mean().clamp(min=1e-6)


def normal(mean: Tensor, deviation: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of a normal distribution."""
    return 0.5 * ((target - mean) / deviation) ** 2 + deviation.log() + 0.5 * math.log(2 * math.pi)


def log_normal(location: Tensor, deviation: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of ``1 + target`` whose logarithm is normal; the target is not negative."""
    logarithm = torch.log1p(target)
    return normal(location, deviation, logarithm) + logarithm


def negative_binomial(mean: Tensor, size: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of a count with variance ``mean + mean^2 / size``."""
    total = (mean + size).log()
    counted = torch.lgamma(target + size) - torch.lgamma(size) - torch.lgamma(target + 1)
    return -(counted + size * (size.log() - total) + target * (mean.log() - total))


def quantile(values: Tensor, target: Tensor, share: float) -> Tensor:
    """Least at the value that a ``share`` of the targets lies below (Koenker and Bassett 1978)."""
    error = target - values
    return torch.maximum(share * error, (share - 1) * error)


def multi_quantile(values: Tensor, target: Tensor, shares: Sequence[float]) -> Tensor:
    """Mean of the quantile losses of ``values[..., i]`` at ``shares[i]``."""
    return torch.stack([quantile(values[..., i], target, share) for i, share in enumerate(shares)]).mean(dim=0)


def listwise(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """[n] cross-entropy of each positive against all negatives of its row, the mean over the row's positives.

    Args:
        scores: [n, m].
        positive: [n, m] which items are linked to.
        negative: [n, m] which are not; the rest does not count.
    """
    others = torch.logsumexp(scores.masked_fill(~negative, -1e9), dim=1, keepdim=True)
    each = functional.softplus(others - scores) * positive  # -log of exp(s) / (exp(s) + sum of exp(others))
    return each.sum(dim=1) / positive.sum(dim=1).clamp(min=1)


def any_positive(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """[n] cross-entropy of all positives of a row together: of the odds that a draw by the scores is any of them.

    What a row has beyond the first places hardly counts, unlike in ``listwise``, where each positive counts as much.

    Args:
        scores, positive, negative: as for ``listwise``.
    """
    own = torch.logsumexp(scores.masked_fill(~positive, -1e9), dim=1)
    others = torch.logsumexp(scores.masked_fill(~negative, -1e9), dim=1)
    return functional.softplus(others - own) * positive.any(dim=1)


def pairwise_binary(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """[n] binary cross-entropy of the positives and negatives of each row, both kinds counting as much.

    Args:
        scores, positive, negative: as for ``listwise``.
    """
    surprise = binary_cross_entropy(scores, positive.to(scores.dtype))
    kinds = [(surprise * kind).sum(dim=1) / kind.sum(dim=1).clamp(min=1) for kind in (positive, negative)]
    return (kinds[0] + kinds[1]) / 2
