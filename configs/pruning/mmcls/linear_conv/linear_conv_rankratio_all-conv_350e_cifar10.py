# LinearConv on AllConv, CIFAR-10, combinations of a rank in proportion.
# Published: 0.70M parameters.
_base_ = [
    '../../../dense/dense_all-conv_350e_cifar10.py',
    '../../../_base_/methods/linear_conv_rankratio.py',
]

# Without the convolution that classifies.
_base_.compression.mutator_cfg.parse_cfg.exclude = ['backbone.layers.conv9']
# Counted here: the published parameters need a ratio in [8/96, 17/96).
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.rank_ratio = 0.1
# As the authors' program starts.
_base_.compression.mutator_cfg.filter_unit_cfg.default_args.start = 'uniform'
# Theirs drops in evaluation too: model.architecture.backbone.dropout_in_evaluation=True
# Theirs pads the 1x1 conv8: model.architecture.backbone.conv8_padding=1

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)
