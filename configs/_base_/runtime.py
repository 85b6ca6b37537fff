# What a training of ours needs beside the runtime of a library. mmengine takes no key from two
# bases, and a library's runtime has default_hooks: a config that inherits both says
# `default_hooks = _base_.hooks`. So do cls_runtime.py and sr_runtime.py.
custom_imports = dict(imports=['mmcompress'], allow_failed_imports=False)
hooks = dict(
    compression=dict(type='mmcompress.CompressionHook'),
    reseed=dict(type='mmcompress.ReseedHook'),
)
