"""Hooks for mmengine's runner, and metrics."""

from .compression_hook import CompressionHook
from .metrics import PSNR, SSIM
from .reseed_hook import ReseedHook
from .visuals_hook import VisualsHook

__all__ = ['PSNR', 'SSIM', 'CompressionHook', 'ReseedHook', 'VisualsHook']
