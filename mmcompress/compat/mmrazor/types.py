"""MMRazor's nested types are looked up in the wrong library.

Fault: a component of MMRazor builds its parts from configs with bare names (``ChannelAnalyzer``,
channel units), which mmengine looks up in the default scope of the run: "ChannelAnalyzer is not
in the mmpretrain::task util registry".

Remedy: a bare name that is found neither in a registry nor in its parents is looked up among
MMRazor's, in the registry of the same kind, before the search is given up. What mmcompress does
under MMRazor's names (:mod:`.scope`) comes first.

Does nothing when the name is found, when it has a scope, and as long as nobody has imported
MMRazor: a typing error in a config must not cost its import.
"""

from __future__ import annotations

import sys
from functools import wraps

from mmengine.registry import Registry

from . import scope
from .scope import SCOPE


def apply() -> None:
    """Extend the end of :meth:`Registry.get`."""
    original = Registry.get

    @wraps(original)
    def get(self: Registry, key: str) -> type | None:
        found = original(self, key)
        if found is None and '.' not in key and f'{SCOPE}.registry' in sys.modules:
            theirs = self.root._search_child(SCOPE)
            # module_dict, not get(): that would import all of MMRazor, or come back here.
            if theirs is not None:
                found = scope.named(self.name, key) or theirs.module_dict.get(key)
        return found

    Registry.get = get
