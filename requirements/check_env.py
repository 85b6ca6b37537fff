"""Imports what an environment of ``setup_env.sh`` is for; fails if anything is missing.

Usage: ``python requirements/check_env.py demo|full``
"""

import importlib
import sys
from importlib.metadata import version

DEMO = (
    'mmcompress',
    'mmpretrain.models',
    'torch_pruning',
    'sklearn',
    'scipy',
    'matplotlib',
    'skimage',
)
FULL = (
    *DEMO,
    'mmrazor.models',
    'mmcv.ops',
    'mmdet.models',
    'mmseg.models',
    'mmpose.models',
    'onnxruntime',
    'openvino',
    'osqp',
    'pytest',
)
HINTS = {
    'mmcv.ops': 'pip may have kept a build for another torch: `pip cache remove mmcv`, try again',
}


def main(profile: str) -> int:
    """Try every import.

    Args:
        profile: ``demo`` or ``full``.

    Returns:
        The number of modules that could not be imported.
    """
    failed = 0
    # mmcompress comes first: its compat/ repairs what keeps some of the others from importing.
    for name in FULL if profile == 'full' else DEMO:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed += 1
            print(f'{name}: {type(error).__name__}: {error}', file=sys.stderr)
            if name in HINTS:
                print(f'  {HINTS[name]}', file=sys.stderr)
    libraries = ('torch', 'mmengine', 'mmpretrain')
    print(', '.join(f'{name} {version(name)}' for name in libraries))
    return failed


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
