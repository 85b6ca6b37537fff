"""Hooks for mmengine's runner."""

from .compression_hook import CompressionHook
from .reseed_hook import ReseedHook

__all__ = ['CompressionHook', 'ReseedHook']
