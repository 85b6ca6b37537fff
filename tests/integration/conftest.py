"""A small trained algorithm that several tests of the tools share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location('tool', Path(__file__).with_name('tool.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def tool() -> ModuleType:
    """How to run the tools (tests are imported on their own and can't import each other)."""
    return _load_tool()


@pytest.fixture
def call(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run a tool in this process; returns its standard output."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.chdir(tool.ROOT)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        capsys.readouterr()
        tool.module(name).main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope='session')
def trained(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of three uninterrupted epochs of the small demo."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    tool.succeed(
        'train',
        tool.DEMO,
        '--work-dir',
        work_dir,
        '--cfg-options',
        'train_cfg.max_epochs=3',
        *tool.SMALL,
    )
    return work_dir
