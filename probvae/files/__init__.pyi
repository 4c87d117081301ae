from .npz import read_arrays as read_arrays
from .reading import read_text as read_text
from .writing import write_atomic as write_atomic
from .writing import write_text as write_text
