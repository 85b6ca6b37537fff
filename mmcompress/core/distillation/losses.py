"""How far what a student puts out is from what its teacher does."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def logits(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence between softened class probabilities.

    ``T^2 * mean_n sum_k p_k log(p_k / q_k)`` with ``p = softmax(teacher / T)`` and
    ``q = softmax(student / T)``. Hinton et al., 2015, section 2.

    Args:
        student: ``Tensor[N, K]``, before the softmax.
        teacher: As well.
        temperature: ``T``.
    """
    p = F.log_softmax(teacher / temperature, 1)
    q = F.log_softmax(student / temperature, 1)
    return temperature**2 * F.kl_div(q, p, reduction='batchmean', log_target=True)


def pkd(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the correlation of each channel, on average.

    Each channel is brought to mean 0 and variance 1 over the batch and its positions; half the mean
    squared difference of the results is ``1 - r`` with Pearson's ``r``. So neither the scale of
    features nor an offset counts. Cao et al., NeurIPS 2022, equation 5.

    Args:
        student: ``Tensor[N, C, ...]``.
        teacher: As well.
    """
    return (_standardised(student) - _standardised(teacher)).square().mean() / 2


def _standardised(x: Tensor) -> Tensor:
    x = x.transpose(0, 1).flatten(1)
    return (x - x.mean(1, keepdim=True)) / (x.std(1, unbiased=False, keepdim=True) + 1e-6)


def cwd(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence between softened maps of each channel.

    As :func:`logits`, with the softmax over the positions of a channel, and the mean over images
    and channels. Shu et al., ICCV 2021, equation 4.

    Args:
        student: ``Tensor[N, C, ...]``.
        teacher: As well.
        temperature: Of the softmax.
    """
    return logits(student.flatten(2).flatten(0, 1), teacher.flatten(2).flatten(0, 1), temperature)


def l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (student - teacher).abs().mean()


#: By the name that a config gives.
LOSSES: dict[str, Callable[..., Tensor]] = dict(logits=logits, pkd=pkd, cwd=cwd, l1=l1)
#: Those with a temperature.
SOFTENED = ('logits', 'cwd')
#: What a loss counts beside the loss of the task, where the config doesn't say.
WEIGHTS = dict(logits=1.0, pkd=6.0, cwd=1.0, l1=1.0)


def distance(student: list[Tensor], teacher: list[Tensor], loss: str, temperature: float) -> Tensor:
    """The mean of a loss over several pairs of tensors, in float32.

    Args:
        student: Tensors, such as the levels of a neck.
        teacher: Of the same shapes.
        loss: One of :data:`LOSSES`.
        temperature: For those that have one.
    """
    options = dict(temperature=temperature) if loss in SOFTENED else {}
    parts = [
        LOSSES[loss](a.float(), b.float(), **options) for a, b in zip(student, teacher, strict=True)
    ]
    return torch.stack(parts).mean()
