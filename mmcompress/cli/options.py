"""The options that several verbs share: one name, one meaning.

Imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

#: Side of a tile where ``--chop`` names none, in pixels of the low-resolution image.
TILE = 128
#: What runs ONNX files: those of :mod:`mmcompress.report.onnx_files`.
RUNTIMES = ('onnxruntime', 'openvino')
#: What layers and networks are timed in: those of :mod:`mmcompress.core.base.budget`.
LAYER_RUNTIMES = (*RUNTIMES, 'torch', 'torch-channels-last', 'compile')


class OptionAction(argparse.Action):
    """mmengine's ``DictAction``, whose complaints are those of a command line."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *args: Any
    ) -> None:
        """Parse the pairs."""
        from mmengine.config import DictAction

        class Parser(DictAction):
            """Leaves sums and multiples of lists, such as ``[0.5]*2+[0.4]``, to who reads them."""

            @staticmethod
            def _parse_iterable(val: str) -> Any:
                whole = re.search(r'\]\s*[*+]|\*\s*[\[(]', val)
                return val if whole else DictAction._parse_iterable(val)

        try:
            Parser(self.option_strings, self.dest)(parser, namespace, *args)
        except (ValueError, AssertionError, SyntaxError) as error:
            raise argparse.ArgumentError(self, f'not key=value pairs: {error}') from None


class OldNameAction(OptionAction):
    """The earlier name of an option, which works for one more release and says so."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *args: Any
    ) -> None:
        """Parse the pairs, and name the new option on standard error."""
        old, new = self.option_strings[0], f'--{self.dest}'
        print(f'{old} is now called {new}; the next release removes {old}', file=sys.stderr)
        super().__call__(parser, namespace, *args)


def add_config_arguments(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """The config, and what is to be changed in it; ``nargs='+'`` takes several configs."""
    parser.add_argument(
        'config', nargs=nargs, help='a config file, or lib::config of an installed library'
    )
    add_config_changes(parser)


def add_config_changes(parser: argparse.ArgumentParser) -> None:
    """What is to be changed in the config."""
    parser.add_argument(
        '--compress',
        metavar='METHOD',
        help='method file to compress the model with: a path, or the name of a file in '
        'configs/_base_/methods, such as dcff_r50',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """How to start mmengine's runner."""
    parser.add_argument('--work-dir', help='where to save logs and results')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_shape_argument(parser: argparse.ArgumentParser) -> None:
    """The size of an image."""
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='N',
        help='image shape: one side, height and width, or channels, height and width (default: '
        'flops_shape of the config, else the size in its test pipeline)',
    )


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """How models for super-resolution are to run."""
    parser.add_argument(
        '--chop',
        nargs='?',
        type=int,
        const=TILE,
        metavar='TILE',
        help='super-resolution: process large images in tiles of this many low-resolution pixels '
        f'(default {TILE})',
    )
    parser.add_argument(
        '--self-ensemble',
        action='store_true',
        help='super-resolution: average the results of eight orientations of the image',
    )


def add_out_argument(
    parser: argparse.ArgumentParser, what: str, *others: str, required: bool = False
) -> None:
    """Where to write the result.

    Args:
        parser: Of the verb.
        what: The result, for the help.
        *others: Earlier names of the option.
        required: Whether there is no default.
    """
    parser.add_argument('-o', '--out', required=required, help=what)
    if others:
        parser.add_argument(*others, dest='out', default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def add_threads_argument(parser: argparse.ArgumentParser, default: Any, several: bool) -> None:
    """How many threads do the work.

    Args:
        parser: Of the verb.
        default: Their number.
        several: Whether the work is done once for each of several numbers.
    """
    each = '; several numbers are tried one after another' if several else ''
    parser.add_argument(
        '--threads',
        type=int,
        nargs='+' if several else None,
        default=default,
        metavar='N',
        help=f'number of threads{each} (default {default})',
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Where the result goes as JSON: :func:`give_json` reads the value."""
    parser.add_argument(
        '--json',
        nargs='?',
        const=True,
        metavar='FILE.json',
        help='print the result as JSON and nothing else; with a file, write the JSON there and '
        'print the usual text',
    )


def separate_json(words: list[str]) -> list[str]:
    """A command line in which ``--json`` takes the next word only if that names a JSON file.

    A checkpoint behind ``--json`` stays a checkpoint, and is never written to. Other names are
    given with a ``=``: ``--json=metrics.txt``.
    """
    separated, rest = [], iter(words)
    for word in rest:
        if word != '--json':
            separated.append(word)
            continue
        following = next(rest, None)
        if following is not None and following.endswith('.json'):
            separated.append(f'--json={following}')
        else:
            separated.append('--json=-')
            separated += [] if following is None else separate_json([following, *rest])
    return separated


def separate_choices(words: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """A command line in which an option with a choice takes the next word only if that is one.

    A config behind ``--onnx`` stays a config.

    Args:
        words: The command line.
        parser: Its options; those that may stand alone, or be followed by one of their choices.
    """
    lone = {
        name: action
        for action in parser._actions
        for name in action.option_strings
        if action.nargs == '?' and action.choices
    }
    separated: list[str] = []
    for word in words:
        before = lone.get(separated[-1]) if separated else None
        if before is not None:
            name = separated.pop()
            if word in (before.choices or ()):
                separated.append(f'{name}={word}')
                continue
            separated.append(f'{name}={before.const}')
        separated.append(word)
    return separated


def prints_json(where: bool | str | Path | None) -> bool:
    """Whether ``--json`` asks for JSON on the terminal, which then shows nothing else."""
    return where in (True, '-')


def give_json(result: Any, where: bool | str | Path | None) -> None:
    """Give a result as JSON, where it is asked for.

    Args:
        result: Numbers, texts, lists and dicts of such.
        where: The value of ``--json``: a file, or ``-`` (and ``True``) for the terminal.
    """
    if where is None:
        return
    text = json.dumps(result, indent=2, default=float)
    if prints_json(where):
        print(text)
        return
    path = Path(str(where))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + '\n', encoding='utf-8')
