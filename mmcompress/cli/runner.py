"""mmengine's runner, and a model that is built before it."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner, set_random_seed
from torch import nn
from torch.utils.data import DataLoader

from mmcompress.core.base.build import build_model
from mmcompress.core.base.demo import images_of
from mmcompress.core.base.image_shape import size_of_images
from mmcompress.core.errors import CompressionError

#: What mmengine needs for each phase: all of it, or nothing.
PHASES = dict(
    train=('train_dataloader', 'train_cfg', 'optim_wrapper'),
    val=('val_dataloader', 'val_cfg', 'val_evaluator'),
    test=('test_dataloader', 'test_cfg', 'test_evaluator'),
)


class ToolRunner(Runner):
    """mmengine's runner; a data set that can't be built is a one-sentence error.

    Args:
        *args: Arguments of :class:`mmengine.runner.Runner`.
        built: The model of the config, if it has been built.
        **kwargs: Arguments of :class:`mmengine.runner.Runner`.
    """

    #: Whether to leave out what mmengine logs of the environment, which takes it seconds, of the
    #: config and of hooks.
    quiet: ClassVar[bool] = False

    def __init__(self, *args: Any, built: BuiltModel | None = None, **kwargs: Any) -> None:
        self._built = built
        super().__init__(*args, **kwargs)

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Set the seed. A run with a built model has the seed that the model was built with."""
        if self._built is not None:
            seed, diff_rank_seed = self._built.seed, False
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def _log_env(self, env_cfg: dict) -> None:
        """Log the environment, and the config."""
        if not self.quiet:
            super()._log_env(env_cfg)

    def get_hooks_info(self) -> str:
        """What is logged of hooks."""
        return '' if self.quiet else super().get_hooks_info()

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model, or return the one that was built before."""
        if self._built is None:
            with images_of(size_of_images(self.cfg)):
                return super().build_model(model)
        built, self._built = self._built, None
        return built.hand_over(self.logger)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        """Build a dataloader as the base class does.

        Raises:
            CompressionError: If its data set is missing, or its config is wrong.
        """
        try:
            return Runner.build_dataloader(dataloader, *args, **kwargs)
        except (OSError, AssertionError, KeyError, TypeError, ValueError) as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise CompressionError(f'the data cannot be loaded: {reason}') from None


class BuiltModel:
    """The model of a config, built before the runner, which shows mistakes in the config.

    The runner makes folders and files before it builds a model. A run that gets this one is the
    same, bit for bit, as one whose runner builds the model: seeds are set as mmengine sets them,
    and random generators go on where the build has left them.

    Args:
        cfg: The config; its ``launcher`` has been set.

    Attributes:
        model: Until a runner has it. Whoever looks at it leaves it as it is.
        seed: What random generators began with.

    Raises:
        CompressionError: If the config is wrong.
    """

    def __init__(self, cfg: Config) -> None:
        check_phases(cfg)
        self.cfg = cfg
        try:
            self.seed = set_random_seed(**(cfg.get('randomness') or dict(seed=None)))
        except (TypeError, ValueError) as error:
            raise CompressionError(f'randomness is {cfg.get("randomness")!r}: {error}') from None
        with _heard() as self._said:
            #: Until a runner has taken it.
            self.model: Any = build_model(cfg)
        self._random = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def runner(self) -> ToolRunner:
        """The runner of the config, with this model where that makes no difference."""
        if not self._is_portable():
            self.model = None
            return ToolRunner.from_cfg(self.cfg)
        # from_cfg takes nothing but a config, and calls its class with what is in there.
        return ToolRunner.from_cfg.__func__(partial(ToolRunner, built=self), self.cfg)

    def _is_portable(self) -> bool:
        """Whether the runner would have built the same."""
        # The seed of several processes is drawn, or made of their ranks, once they know of each
        # other. The runner brings them together after this model was built.
        if self.cfg.get('launcher', 'none') != 'none':
            return False
        # Some models (DWPose, DSNAS) take hold of the hub of the current run as they are built.
        return not any(
            isinstance(value, MessageHub)
            for module in self.model.modules()
            for value in vars(module).values()
        )

    def hand_over(self, logger: logging.Logger) -> nn.Module:
        """Give the model away, and what was logged while it was built to the run's log file."""
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                for record in self._said:
                    handler.handle(record)
        python, numpy, torchs = self._random
        random.setstate(python)
        np.random.set_state(numpy)
        # On the CPU; those of accelerators draw nothing while a model is built there.
        torch.set_rng_state(torchs)
        model, self.model = self.model, None
        return model


def check_phases(cfg: Config) -> None:
    """Check that a config has all or nothing of what each phase needs.

    Raises:
        CompressionError: If a part is missing.
    """
    for phase, keys in PHASES.items():
        there = [key for key in keys if cfg.get(key) is not None]
        if there and len(there) < len(keys):
            missing = next(key for key in keys if key not in there)
            raise CompressionError(
                f'{missing} is missing, but {there[0]} is there; {phase} needs {", ".join(keys)}'
            )


@contextlib.contextmanager
def _heard() -> Iterator[list[logging.LogRecord]]:
    """What is logged inside."""
    records: list[logging.LogRecord] = []
    listener = logging.Handler()
    listener.emit = records.append  # type: ignore[method-assign,assignment]
    logger = MMLogger.get_current_instance()
    logger.addHandler(listener)
    try:
        yield records
    finally:
        logger.removeHandler(listener)
