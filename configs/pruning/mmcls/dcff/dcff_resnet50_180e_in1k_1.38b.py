# DCFF on ResNet-50, ImageNet, 180 epochs with a cosine. Published: 1.38B MACs,
# 11.81M parameters, 74.85 %.
_base_ = ['dcff_resnet50_180e_in1k_1.52b.py']

model = dict(
    target_pruning_ratio=dict(
        _delete_=True,
        **{
            'backbone.layer[12].*.conv[12]_*': 0.3,
            'backbone.layer[34].*.conv[12]_*': 0.55,
            'backbone.layer[1-3].0.conv3_*': 0.76,
        },
    ),
)
