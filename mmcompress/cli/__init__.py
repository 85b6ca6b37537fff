"""Make convolutional networks smaller and faster: train, export and measure them.

The command line is ``mmcompress VERB ...``; the scripts in ``tools/`` are its verbs. A verb is a
module with ``add_arguments(parser)`` and ``main(args)``. These modules import only the standard
library; ``main`` imports the rest. So a help text appears as fast as Python starts.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from importlib import import_module
from types import ModuleType

#: The verbs, and what each does.
VERBS = {
    'train': 'train a config; with --compress, compress its model',
    'recover': 'compress a trained network at once, and repair it from a few unlabelled images',
    'test': 'evaluate a checkpoint',
    'export': 'turn a trained algorithm into a static model of plain torch layers',
    'convert': "turn a checkpoint of a paper's authors, or of MMRazor, into one of ours",
    'units': 'list the units of a model, or find keep ratios for a budget',
    'flops': 'count parameters and MACs, dense and compact',
    'tables': 'count the networks of all published rows, beside the published figures',
    'bench': 'time the dense against the compact model',
    'plot': 'draw the progress of a training',
    'report': 'put trainings and exports side by side on one page',
    'reproduce': 'train a published row, and set its accuracy beside the published one',
    'demo': 'train, compress, export and measure a ResNet-20 in minutes',
    'data': 'write the embedded data sets, or cut large images into sub-images',
}


def main(*verb: str) -> None:
    """Run the command line of this process, and end it.

    Args:
        *verb: The verb of a script that has only one. By default it is the first word of the
            command line.
    """
    module, words = sys.modules[__name__], sys.argv[1:]
    prog, given = None if verb else 'mmcompress', list(verb)
    while hasattr(module, 'VERBS'):
        name = given.pop(0) if given else choose(module, words, prog)
        module = import_module(f'{module.__name__}.{name}')
        prog = prog and f'{prog} {name}'
    args = parse(module, words, prog)
    import_module('mmcompress.everything')
    from .launch import run

    run(lambda: module.main(args))


def parse(module: ModuleType, words: list[str], prog: str | None = None) -> argparse.Namespace:
    """The arguments of a verb.

    Args:
        module: The module of the verb.
        words: The words behind the verb.
        prog: The name of the program in its usage line; by default that of the script.
    """
    from .options import separate_choices, separate_json

    parser = argparse.ArgumentParser(
        prog=prog,
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    # Options may stand between the config and the checkpoint.
    return parser.parse_intermixed_args(separate_choices(separate_json(words), parser))


def choose(module: ModuleType, words: list[str], prog: str | None) -> str:
    """Take the verb from the command line; without one, say which there are, and end."""
    word = words.pop(0) if words else None
    if word is not None and word in module.VERBS:
        return word
    if word == '--version':
        from mmcompress.version import __version__

        print(__version__)
        sys.exit(0)
    if word in ('-h', '--help', None):
        text = [f'usage: {prog} VERB ...', '', (module.__doc__ or '').splitlines()[0], '', 'verbs:']
        text += [f'  {name:<9} {what}' for name, what in module.VERBS.items()]
        text += ['', f'`{prog} VERB --help` says more']
        print('\n'.join(text), file=sys.stdout if word else sys.stderr)
        sys.exit(0 if word else 2)
    near = difflib.get_close_matches(word, module.VERBS, n=3, cutoff=0.5) or list(module.VERBS)
    print(
        f'error: {prog} has no verb {word!r}; the nearest are {", ".join(map(repr, near))}',
        file=sys.stderr,
    )
    sys.exit(2)
