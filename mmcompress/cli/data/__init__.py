"""Write data sets to folders."""

#: What there is to do.
VERBS = {
    'digits': 'write the embedded scenes of digits, as COCO and Cityscapes are laid out',
    'crop': 'cut the large images of a folder into sub-images',
}
