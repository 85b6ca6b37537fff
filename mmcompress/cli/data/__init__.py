"""Write data sets to folders."""

#: The verbs, and what each does.
VERBS = {
    'digits': 'write the embedded scenes of digits in the layout of COCO and Cityscapes',
    'crop': 'cut the large images of a folder into sub-images',
}
