# DIV2K for x4: trains on sub-images of its 800 training images, validates and tests on Set5.
#
# Needs data/DIV2K with DIV2K_train_HR and DIV2K_train_LR_bicubic/X4 of
# https://data.vision.ee.ethz.ch/cvl/DIV2K/, and its sub-images:
#     python tools/make_sub_images.py data/DIV2K/DIV2K_train_HR \
#         --lq 4=data/DIV2K/DIV2K_train_LR_bicubic/X4
# Needs data/benchmark with Set5/HR and Set5/LR_bicubic/X4 (made of HR where it is missing), and
# Set14, B100, Urban100 likewise. A test is of one set, for each has figures of its own:
#     python tools/test.py CONFIG CHECKPOINT \
#         --cfg-options test_dataloader.dataset.data_root=data/benchmark/Set14
train_pipeline = [
    # 48 x 48 pixels in.
    dict(type='mmcompress.PairedRandomCrop', patch=192),
    dict(type='mmcompress.PairedFlipRotate'),
    dict(type='mmcompress.PackSRInputs'),
]
test_pipeline = [dict(type='mmcompress.PackSRInputs')]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    # ReseedHook seeds the workers that each epoch starts; persistent ones it can't reach.
    persistent_workers=False,
    dataset=dict(
        type='mmcompress.SRFolders',
        data_root='data/DIV2K',
        gt_folder='DIV2K_train_HR_sub',
        lq_folder='DIV2K_train_LR_bicubic/X4_sub',
        scale=4,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    # Images of different sizes make no batch.
    batch_size=1,
    num_workers=1,
    persistent_workers=False,
    dataset=dict(
        type='mmcompress.SRFolders',
        data_root='data/benchmark/Set5',
        gt_folder='HR',
        lq_folder='LR_bicubic/X4',
        scale=4,
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = [
    dict(type='mmcompress.PSNR', border=4),
    dict(type='mmcompress.SSIM', border=4),
]

test_dataloader = val_dataloader
test_evaluator = val_evaluator
