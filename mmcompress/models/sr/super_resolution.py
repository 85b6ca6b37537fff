"""The model that trains and runs a network for super-resolution."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError, nearest
from mmcompress.registry import MODELS

from .data_preprocessor import SRDataPreprocessor, stacked
from .tiling import chop_forward, reach, self_ensemble

#: Losses by the name of their class in PyTorch, and what they are called in the log.
LOSSES = dict(L1Loss='loss_l1', MSELoss='loss_mse', SmoothL1Loss='loss_smooth_l1')


@MODELS.register_module()
class SuperResolver(BaseModel):
    """A network that makes images larger, in mmengine's form.

    Args:
        backbone: Config of the network, ``Tensor[N, C, H, W]`` to ``Tensor[N, C, sH, sW]``. All of
            it, with this name, so that every method finds it.
        scale: ``s``; by default the ``scale`` of the network.
        loss: A loss of PyTorch by ``type``, one of :data:`LOSSES`, between the network's output and
            the target in the network's units.
        test_cfg: How ``predict`` runs the network: ``chop=dict(tile=..., overlap=...)`` in tiles,
            see :func:`~mmcompress.models.sr.tiling.chop_forward`, of low-resolution pixels; by
            default tiles overlap as far as the network may look, so that the result is the same;
            ``self_ensemble=True`` as the mean over eight orientations.
        data_preprocessor: Config of a :class:`SRDataPreprocessor`, the default.
        init_cfg: As for every mmengine module.

    Attributes:
        free_size: Whether a graph of the model may leave the size of its input open; not where the
            backbone says otherwise.

        distilled: What a teacher is compared by: its output.

    Raises:
        CompressionError: If a setting is wrong.

    Example:
        >>> network = dict(type='mmcompress.EDSR', num_blocks=2, width=16, scale=2)
        >>> model = SuperResolver(network).eval()
        >>> [sample] = model.test_step(dict(inputs=[torch.rand(3, 8, 9) * 255]))
        >>> sample.pred_img.shape
        torch.Size([3, 16, 18])
    """

    distilled: ClassVar[dict[str, str]] = dict(backbone='l1')

    def __init__(
        self,
        backbone: dict,
        scale: int | None = None,
        loss: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if data_preprocessor is None:
            data_preprocessor = dict(type='SRDataPreprocessor')
        if isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        if not isinstance(data_preprocessor, SRDataPreprocessor):
            raise CompressionError(
                f'data_preprocessor is a {type(data_preprocessor).__name__}; a SuperResolver, '
                'which turns outputs into images again, needs an SRDataPreprocessor'
            )
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        own = getattr(self.backbone, 'scale', None)
        self.free_size = getattr(self.backbone, 'free_size', True)
        self.scale: Any = own if scale is None else scale
        if not _is_positive(self.scale):
            raise CompressionError(f'scale is {self.scale!r}; it has to be a whole number')
        if own not in (None, self.scale):
            raise CompressionError(
                f'scale is {self.scale}, but the backbone makes images {own} times as large'
            )
        if getattr(self.backbone, 'has_mean', False) and data_preprocessor.mean.any():
            raise CompressionError(
                'the backbone and the data_preprocessor both take off a mean; set '
                'data_preprocessor.mean to None, or that of the backbone'
            )
        self.loss_name, self.loss_module = _loss(loss or dict(type='L1Loss'))
        self.test_cfg = check_test_cfg(test_cfg)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Any = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Run the network.

        Args:
            inputs: ``Tensor[N, C, H, W]`` in its units.
            data_samples: For ``'loss'`` with ``gt_img``, ``Tensor[C, sH, sW]`` of 0 to 255.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            ``Tensor[N, C, sH, sW]`` in the units of the network; a dict with the loss; or the data
            samples with ``pred_img``, ``Tensor[C, sH, sW]`` of 0 to 255, not rounded.

        Raises:
            CompressionError: If a target has not the size of the output.
            ValueError: If the mode is unknown.
        """
        if mode == 'tensor':
            return self.backbone(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode={mode!r} is unknown; valid: ('tensor', 'loss', 'predict').")

    def loss(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> dict[str, Tensor]:
        """The loss of a batch; see :meth:`forward`."""
        self._check_scale(data_samples)
        output = self.backbone(inputs)
        images = stacked([sample.gt_img for sample in data_samples], data_samples, 'target')
        target = self.data_preprocessor.normalize(images.to(output.device))
        if target.shape != output.shape:
            path = getattr(data_samples[0], 'img_path', 'a target')
            raise CompressionError(
                f'{path}: the target is {tuple(target.shape[1:])}, but the network makes '
                f'{tuple(output.shape[1:])} of {tuple(inputs.shape[1:])}, scale {self.scale}'
            )
        return {self.loss_name: self.loss_module(output, target)}

    def predict(
        self, inputs: Tensor, data_samples: list[BaseDataElement] | None = None
    ) -> list[BaseDataElement]:
        """Images, made as ``test_cfg`` says; see :meth:`forward`."""
        self._check_scale(data_samples or [])
        images = self.data_preprocessor.restore(self.enlarge(inputs)).clamp(0, 255)
        if data_samples is None:
            data_samples = [BaseDataElement() for _ in images]
        for sample, image in zip(data_samples, images, strict=True):
            sample.pred_img = image
        return data_samples

    def _check_scale(self, data_samples: list[BaseDataElement]) -> None:
        for sample in data_samples:
            scale = sample.get('scale')
            if scale not in (None, self.scale):
                raise CompressionError(
                    f'scale of the data set is {scale}, that of the model {self.scale}; make them '
                    'equal'
                )

    def enlarge(self, inputs: Tensor) -> Tensor:
        """The network, run as ``test_cfg`` says; ``Tensor[N, C, H, W]`` in its units."""
        network = self.backbone
        chop = self.test_cfg['chop']
        if chop is not None:
            overlap = reach(network) if chop['overlap'] is None else chop['overlap']
            network = partial(_chopped, network, self.scale, chop['tile'], overlap)
        return self_ensemble(network, inputs) if self.test_cfg['self_ensemble'] else network(inputs)

    def demo_samples(self, images: Tensor) -> list[BaseDataElement]:
        """Data samples for a batch of random images, which the analysis of channels runs on."""
        height, width = (side * self.scale for side in images.shape[2:])
        samples = []
        for _ in images:
            sample = BaseDataElement(metainfo=dict(img_path='demo.png', scale=self.scale))
            sample.gt_img = 255 * torch.rand(images.shape[1], height, width, device=images.device)
            samples.append(sample)
        return samples


def check_test_cfg(test_cfg: Any) -> dict[str, Any]:
    """Settings of inference, with their defaults.

    Args:
        test_cfg: ``chop`` and ``self_ensemble``, see :class:`SuperResolver`.

    Returns:
        Both, ``chop`` with ``tile`` and ``overlap``, which may be ``None``, or ``None``.

    Raises:
        CompressionError: If a setting is unknown or wrong.
    """
    test_cfg = _settings(test_cfg, 'test_cfg', ('chop', 'self_ensemble'))
    chop, ensemble = test_cfg.get('chop'), test_cfg.get('self_ensemble', False)
    if not isinstance(ensemble, bool):
        raise CompressionError(
            f'test_cfg.self_ensemble is {ensemble!r}; it has to be True or False'
        )
    if chop is not None:
        chop = dict(overlap=None) | _settings(chop, 'test_cfg.chop', ('tile', 'overlap'))
        tile, overlap = chop.get('tile'), chop['overlap']
        if not _is_positive(tile):
            raise CompressionError(
                f'test_cfg.chop.tile is {tile!r}; it has to be the side of a tile in pixels of '
                'the low-resolution image, such as 128'
            )
        if overlap is not None and not _is_positive(overlap) and overlap != 0:
            raise CompressionError(
                f'test_cfg.chop.overlap is {overlap!r}; it has to be a number of pixels, or None '
                'for as many as the network may see'
            )
    return dict(chop=chop, self_ensemble=ensemble)


def _settings(given: Any, key: str, names: tuple[str, ...]) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise CompressionError(f'{key} is {given!r}; it has to be a dict of {" and ".join(names)}')
    for name in given or {}:
        if name not in names:
            raise CompressionError(
                f'{key} has no setting {name!r}; the nearest are {nearest(str(name), names)}'
            )
    return dict(given or {})


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _chopped(network: nn.Module, scale: int, tile: int, overlap: int, x: Tensor) -> Tensor:
    return chop_forward(network, x, scale, tile, overlap)


def _loss(loss: Any) -> tuple[str, nn.Module]:
    kind = loss.get('type') if isinstance(loss, dict) else None
    if kind not in LOSSES:
        raise CompressionError(
            f"loss is {loss!r}; it has to be dict(type='L1Loss'), or of type "
            f'{" or ".join(name for name in LOSSES if name != "L1Loss")}'
        )
    reduction = loss.get('reduction', 'mean')
    if reduction not in ('mean', 'sum'):
        raise CompressionError(f"loss.reduction is {reduction!r}; it has to be 'mean' or 'sum'")
    try:
        settings = {key: value for key, value in loss.items() if key != 'type'}
        return LOSSES[kind], getattr(nn, kind)(**settings)
    except TypeError as error:
        raise CompressionError(f'loss is {loss!r}: {error}') from None
