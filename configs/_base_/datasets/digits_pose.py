# Handwritten digits and five key points of each, cut out of scenes of one to five: nothing to
# download. `digits://` is drawn when it is read; `tools/make_digits.py` writes the same files to a
# folder.
codec = dict(type='MSRAHeatmap', input_size=(64, 64), heatmap_size=(16, 16), sigma=1)
# Inferencers of mmpose read these two.
dataset_type = 'CocoDataset'
data_mode = 'topdown'
data_root = 'digits://coco/'
metainfo = dict(
    dataset_name='digits',
    paper_info=dict(),
    keypoint_info={
        0: dict(name='top', id=0, color=[230, 25, 75], type='', swap=''),
        1: dict(name='bottom', id=1, color=[60, 180, 75], type='', swap=''),
        2: dict(name='left', id=2, color=[255, 225, 25], type='', swap=''),
        3: dict(name='right', id=3, color=[0, 130, 200], type='', swap=''),
        4: dict(name='center', id=4, color=[245, 130, 48], type='', swap=''),
    },
    skeleton_info={
        number: dict(link=(name, 'center'), id=number, color=[128, 128, 128])
        for number, name in enumerate(['top', 'bottom', 'left', 'right'])
    },
    joint_weights=[1.0] * 5,
    # How far each point moves, relative to the box, when ink begins at 40 or 60 % of the
    # brightness instead of 50 %, and at least the smallest of COCO's. Vertical strokes leave the
    # leftmost and rightmost point open.
    sigmas=[0.025, 0.025, 0.109, 0.112, 0.025],
)

train_pipeline = [
    # No flips: a mirrored digit is another sign.
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomBBoxTransform', scale_factor=(0.8, 1.2), rotate_factor=0),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/keypoints_train.json',
        data_prefix=dict(img='images/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/keypoints_val.json',
        data_prefix=dict(img='images/val'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/keypoints_val.json'),
    # A point counts within a tenth of the longer side of the box.
    dict(type='PCKAccuracy', thr=0.1),
]

test_dataloader = val_dataloader
test_evaluator = val_evaluator
