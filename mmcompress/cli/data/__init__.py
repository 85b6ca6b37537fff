"""The verb ``data``: write the embedded data, or cut images of other data."""
