# DIV2K for x2, trained on sub-images, tested on Set5; which folders it needs, and how to test on
# Set14, B100 and Urban100, is said in div2k_x4.py.
train_pipeline = [
    # 48 x 48 pixels in.
    dict(type='mmcompress.PairedRandomCrop', patch=96),
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
        lq_folder='DIV2K_train_LR_bicubic/X2_sub',
        scale=2,
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
        lq_folder='LR_bicubic/X2',
        scale=2,
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = [
    dict(type='mmcompress.PSNR', border=2),
    dict(type='mmcompress.SSIM', border=2),
]

test_dataloader = val_dataloader
test_evaluator = val_evaluator
