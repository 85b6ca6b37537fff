# Keep ratios of ResNet-34 that leave out 26.83 % of the FLOPs, a published reduction. The published
# rates are one for all layers, and cut inputs too (fcf_resnet34_30e-90e_in1k_rateNN.py); these are
# ours, one for each stage, so that all widths are multiples of 16, which convolutions on CPUs and
# GPUs are fastest with.
keep = {
    'backbone.layer1.*': 0.75,  # 48 of 64
    'backbone.layer2.*': 0.75,  # 96 of 128
    'backbone.layer3.*': 0.875,  # 224 of 256
    'backbone.layer4.*': 0.78125,  # 400 of 512
}
