"""Files that may be damaged or made to do harm; files that are written whole or not at all."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "npz": ["read_arrays"],
        "reading": ["read_text"],
        "writing": ["write_atomic", "write_text"],
    },
)

if TYPE_CHECKING:
    from probvae.files.npz import read_arrays as read_arrays
    from probvae.files.reading import read_text as read_text
    from probvae.files.writing import write_atomic as write_atomic
    from probvae.files.writing import write_text as write_text
