"""Hooks and loops for mmengine's runner, and metrics."""

from mmcompress.engine.sr.metrics import PSNR, SSIM
from mmcompress.engine.sr.visuals_hook import VisualsHook

from .compression_hook import CompressionHook, algorithm_of
from .cost_hook import CostHook
from .export_val_loop import ExportValLoop
from .reseed_hook import ReseedHook

__all__ = [
    'PSNR',
    'SSIM',
    'CompressionHook',
    'CostHook',
    'ExportValLoop',
    'ReseedHook',
    'VisualsHook',
    'algorithm_of',
]
