"""Cache of a tensor computed from others; recomputed when one of them changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Remembered:
    """Keeps what was made of some tensors for as long as these stay what they are.

    Steps of optimizers, loading, and moving to another device or data type are noticed. Writing
    through ``tensor.data`` in place is not, which moving averages of weights do: who holds one of
    these calls :meth:`forget` where the mode of a module changes, as it does before an evaluation.

    Copies, and what is unpickled, begin with nothing.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let go of the tensor."""
        self._sources: list[tuple[Tensor, int]] = []
        self._made: Tensor | None = None

    def __call__(self, sources: Sequence[Tensor], make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` returns, or has returned when ``sources`` were last given.

        Where gradients of a source are wanted, ``make`` is called every time.

        Args:
            sources: All that ``make`` looks at.
            make: Makes the tensor.
        """
        wanted = torch.is_grad_enabled() and any(source.requires_grad for source in sources)
        # Tensors of the inference mode have no versions; a compiler sees through all of this.
        if wanted or torch.compiler.is_compiling() or any(s.is_inference() for s in sources):
            # A step may follow, and fused optimizers leave no trace in versions.
            self.forget()
            return make()
        if self._made is None or not self._same(sources):
            self.forget()
            # What is made in the inference mode would be of no use outside of it.
            with torch.inference_mode(False), torch.no_grad():
                made = make()
                # An alias keeps the memory, so that nothing else gets its address.
                self._sources = [(source.detach(), source._version) for source in sources]
            self._made = made
        return self._made

    def _same(self, sources: Sequence[Tensor]) -> bool:
        return len(sources) == len(self._sources) and all(
            now._version == version
            and now.data_ptr() == then.data_ptr()
            and now.dtype == then.dtype
            and now.shape == then.shape
            for now, (then, version) in zip(sources, self._sources, strict=True)
        )

    def __deepcopy__(self, memo: dict) -> Remembered:
        return Remembered()

    def __reduce__(self) -> tuple:
        return Remembered, ()
