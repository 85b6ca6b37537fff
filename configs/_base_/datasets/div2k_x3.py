# DIV2K for x3, trained on sub-images, tested on Set5; which folders it needs, and how to test on
# Set14, B100 and Urban100, is said in div2k_x4.py.
_base_ = ['div2k_x4.py']

# 48 x 48 pixels in.
_base_.train_pipeline[0].patch = 144

train_dataloader = dict(
    dataset=dict(
        lq_folder='DIV2K_train_LR_bicubic/X3_sub',
        scale=3,
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(dataset=dict(lq_folder='LR_bicubic/X3', scale=3))
val_evaluator = [
    dict(type='mmcompress.PSNR', border=3),
    dict(type='mmcompress.SSIM', border=3),
]

test_dataloader = val_dataloader
test_evaluator = val_evaluator
