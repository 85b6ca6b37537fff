"""Evaluation passes that count for the masks of LinearConv, in training with mmengine's runner."""

from __future__ import annotations

from pathlib import Path

import torch

MASKS = dict(mask_interval=3, threshold_step=0.1)


def config(**settings):
    return dict(
        type='mmcompress.LinearConv',
        architecture=dict(type='mmengine.TinyNet'),
        mutator_cfg=dict(
            type='LinearConvMutator',
            filter_unit_cfg=dict(default_args=dict(variant='sparse', target_sparsity=0.5)),
        ),
        **MASKS,
        **settings,
    )


def looks_of(runner):
    """In which mode of the network the runner's masks are looked at."""
    algorithm, seen = runner.model, []
    look = algorithm._look

    def noted():
        seen.append(algorithm.training)
        look()

    algorithm._look = noted
    return seen


def test_counts_and_checkpoints(make_runner) -> None:
    """Four batches of training and four of evaluation in each epoch."""
    runner = make_runner(config(count_evaluation=True), 2, seed=0)
    seen = looks_of(runner)
    runner.train()
    # Passes 3, 6, 9, 12 and 15 of 16; of these 5 to 8 and 13 to 16 are evaluation.
    assert seen == [True, False, True, True, False]
    assert int(runner.model.passes) == 16
    saved = [
        torch.load(Path(runner.work_dir, f'epoch_{n}.pth'), weights_only=True)['state_dict']
        for n in (1, 2)
    ]
    # A checkpoint is written before the evaluation of its epoch.
    assert [int(state['passes']) for state in saved] == [4, 12]

    plain = make_runner(config(), 2, seed=0)
    seen = looks_of(plain)
    plain.train()
    assert seen == [True, True]
    assert 'passes' not in plain.model.state_dict()


def test_resumed_run_goes_on_counting(make_runner) -> None:
    first = make_runner(config(count_evaluation=True), 1, seed=0)
    first.train()
    path = Path(first.work_dir, 'epoch_1.pth')
    again = make_runner(config(count_evaluation=True), 2, seed=0, resume=str(path))
    seen = looks_of(again)
    again.train()
    # Passes 5 to 8 are training, 9 to 12 evaluation.
    assert seen == [True, False, False]
    assert int(again.model.passes) == 12


def test_without_evaluation_a_resumed_run_is_the_same(make_runner) -> None:
    settings = config(count_evaluation=True)
    whole = make_runner(settings, 2, seed=0, validate=False)
    whole.train()
    path = Path(whole.work_dir, 'epoch_1.pth')
    again = make_runner(settings, 2, seed=0, resume=str(path), validate=False)
    again.train()
    state = again.model.state_dict()
    assert int(state['passes']) == 8
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, state[key]), key
