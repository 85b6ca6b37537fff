"""One layer at a time: how its tensors lie, and how it is made narrower or replaced."""
