"""Hooks for mmengine's runner, and metrics."""

from mmcompress.engine.sr.metrics import PSNR, SSIM
from mmcompress.engine.sr.visuals_hook import VisualsHook

from .compression_hook import CompressionHook
from .reseed_hook import ReseedHook

__all__ = ['PSNR', 'SSIM', 'CompressionHook', 'ReseedHook', 'VisualsHook']
