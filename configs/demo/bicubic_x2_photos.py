# Bicubic interpolation on the photographs of the demo, which networks have to beat. There is
# nothing to train: python tools/test.py configs/demo/bicubic_x2_photos.py
_base_ = ['dense_edsr_x2_photos.py']

model = dict(backbone=dict(_delete_=True, type='mmcompress.Bicubic', scale=2))
