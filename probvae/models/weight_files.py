"""Saving with the methods of Keras: each saves every variable, or raises `InputError`."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import tensorflow as tf
import tf_keras

from probvae.errors import InputError
from probvae.files import npz
from probvae.files.reading import refusals
from probvae.files.writing import write_atomic, write_text

HDF5 = (".h5", ".hdf5", ".keras")
HOW_TO_SAVE = (
    "save it with probvae.save(vae, folder) and load it with probvae.load(folder), save its weights alone "
    "with vae.save_weights(path), or export it for TensorFlow with probvae-export"
)
HOW_TO_COPY = (
    "build the same model again and give it the weights: other.set_weights(vae.get_weights()); or save it "
    "with probvae.save(vae, folder) and load it with probvae.load(folder)"
)


class WeightsOfParts(tf_keras.Model):
    """A Keras model whose variables are saved by the names that its `named_parts` give them."""

    def named_parts(self) -> dict[str, tf.Module]:
        """Return the parts that hold the variables, by name."""
        raise NotImplementedError

    def all_parts(self) -> dict[str, Any]:
        """Return `named_parts`, and as "model" what else has variables, such as a layer of a subclass."""
        parts = self.named_parts()
        return {**parts, "model": _Others(self, parts.values())}

    optimizer: Any
    _kept_optimizer: Callable[[], Any] | None = None

    def compile(self, optimizer: Any, **options: Any) -> None:
        """Compile the model, and remember its optimizer."""
        super().compile(optimizer, **options)
        self._kept_optimizer = lambda: optimizer  # a function, as Keras saves attributes

    # ---- weights -----------------------------------------------------------------------------------

    def save_weights(
        self, filepath: Any, overwrite: bool = True, save_format: str | None = None, options: Any = None
    ) -> None:
        """Save every variable, that of the prior too.

        Args:
          filepath: Path of an HDF5 file (.h5, .hdf5, .keras), of an .npz file, or, of any other name, the
            prefix of a TensorFlow checkpoint.
          overwrite: Whether to replace a file that is there.
          save_format: "h5", "npz" or "tf"; by default, that of the name.
          options: Ignored.

        Raises:
          InputError: The format is unknown, or the file is there and `overwrite` is false.
        """
        path = _path(filepath)
        form = _format(path, save_format)
        present = _index(path) if form == "tf" else path
        if not overwrite and present.exists():
            raise InputError(f"{present} already exists: give another path, or overwrite=True.")
        arrays = arrays_of(self)
        refuse_not_finite(arrays)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[form](path, arrays)
        except (OSError, tf.errors.OpError) as error:
            raise InputError(f"{path} cannot be written: {error}.") from error

    def load_weights(
        self, filepath: Any, skip_mismatch: bool = False, by_name: bool = False, options: Any = None
    ) -> None:
        """Assign every variable from a file of `save_weights` or, if some do not fit or are not finite, none.

        Args:
          filepath: Path that `save_weights` was given.
          skip_mismatch: Must be false.
          by_name: Must be false.
          options: Ignored.

        Raises:
          InputError: The file is missing, damaged or of another model, or an option cannot be used.
        """
        if skip_mismatch or by_name:
            raise InputError(
                "A VAE loads all of its weights or none: leave skip_mismatch and by_name out, and load into "
                "a model of the architecture that was saved."
            )
        path = _path(filepath)
        form = _format(path, None)
        if form == "tf" and path.is_file() and not _index(path).is_file():
            raise InputError(
                f"{path} is no checkpoint: give the path that vae.save_weights was given, which ends in "
                f"{', '.join(HDF5)} or .npz, or is the prefix of a checkpoint."
            )
        assign_all(self, lambda expected: READERS[form](path, expected))

    def set_weights(self, weights: Any) -> None:
        """Assign the arrays that `get_weights` returned: all of them or, if some do not fit, none."""
        try:
            variables, arrays = self.weights, [np.asarray(array) for array in weights]
        except (TypeError, ValueError):
            raise InputError(
                "Expected the list of arrays that vae.get_weights() gives; got a list of others or a "
                f"{type(weights).__name__}."
            ) from None
        if len(arrays) != len(variables):
            raise InputError(
                f"Expected {len(variables)} arrays of weights, as vae.get_weights() gives them; got "
                f"{len(arrays)}."
            )
        for variable, array in zip(variables, arrays, strict=True):
            if array.shape != tuple(variable.shape) or array.dtype.kind not in "biuf":
                raise InputError(
                    f"{variable.name} must have shape {variable.shape.as_list()}, as vae.get_weights() gives "
                    f"it; got {array.dtype} of shape {list(array.shape)}."
                )
            if not np.isfinite(array).all():
                raise InputError(f"{variable.name} must be finite; some of the values for it are not.")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    # ---- whole models ------------------------------------------------------------------------------

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse Keras's formats of whole models, which would pickle functions of distribution layers."""
        raise InputError(f"Keras cannot save a VAE whole: {HOW_TO_SAVE}.")

    export = save

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """Refuse SavedModels before anything is traced; checkpoints hold every variable."""
        if save_type == "savedmodel":
            if self.optimizer is None and self._kept_optimizer is not None:
                self.optimizer = self._kept_optimizer()  # include_optimizer=False takes it away
            self.save()
        return super()._trackable_children(save_type, **kwargs)

    def get_config(self) -> NoReturn:
        """Refuse a configuration for Keras: a VAE is made of distributions, which have none."""
        raise InputError(
            "A VAE has no configuration for Keras: vae.architecture describes a model of probvae, and "
            "probvae.save(vae, folder) keeps it with the weights."
        )

    def to_json(self, **kwargs: Any) -> NoReturn:
        """Refuse; see `get_config`."""
        self.get_config()

    to_yaml = to_json

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None) -> NoReturn:
        """Refuse; see `get_config`."""
        raise InputError("A VAE cannot be built from a Keras configuration: use probvae.build(architecture).")

    def __reduce__(self) -> NoReturn:
        """Refuse pickles and copies, which would miss what distributions hold."""
        raise InputError(f"A VAE cannot be pickled or copied: {HOW_TO_COPY}.")

    def __deepcopy__(self, memo: Any) -> NoReturn:
        """Refuse copies."""
        self.__reduce__()


class _Others:
    """The variables of a model that are in none of its parts."""

    def __init__(self, model: Any, parts: Iterable[tf.Module]) -> None:
        known = {id(v) for part in parts for v in part.variables}
        modules = list(model._flatten_modules(recursive=False, include_self=False))
        own = [*model._trainable_weights, *model._non_trainable_weights]

        def unknown(own: list[tf.Variable], name: str) -> list[tf.Variable]:
            each = [*own, *(v for module in modules for v in getattr(module, name))]
            return [v for v in once(each) if id(v) not in known]

        self.variables = unknown(own, "variables")
        self.trainable_variables = unknown(model._trainable_weights, "trainable_variables")


def once(variables: Iterable[tf.Variable]) -> list[tf.Variable]:
    """Return each variable once, in the order of its first place."""
    return list({id(v): v for v in variables}.values())


def named_variables(model: Any) -> dict[str, tf.Variable]:
    """Return each variable of a model once, by a name that does not depend on what else was built."""
    named, seen = {}, set()
    for part, module in model.all_parts().items():
        for index, variable in enumerate(module.variables):
            if id(variable) not in seen:
                seen.add(id(variable))
                kind = variable.name.rsplit("/", 1)[-1].removesuffix(":0")  # kernel, bias, ...
                named[f"{part}/{index}/{kind}"] = variable
    return named


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    """Return the values of the variables of a model, by the names of `named_variables`."""
    return {key: variable.numpy() for key, variable in named_variables(model).items()}


def refuse_not_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse weights of which no number can come."""
    wrong = [name for name, array in arrays.items() if not np.all(np.isfinite(array))]
    if wrong:
        raise InputError(
            f"The weights are not finite ({wrong[0]}), so the model is of no use: go back to earlier ones."
        )


def assign_all(model: Any, read: Callable[[Mapping[str, npz.Spec]], Mapping[str, np.ndarray]]) -> None:
    """Assign every variable of a model, once all arrays are read.

    Args:
      model: Model.
      read: Function from the shape and type of each variable, by name, to the arrays.
    """
    variables = named_variables(model)
    arrays = read({key: (tuple(v.shape), np.dtype(v.dtype.as_numpy_dtype)) for key, v in variables.items()})
    for key, variable in variables.items():
        variable.assign(arrays[key])


def _path(filepath: Any) -> Path:
    try:
        path = Path(os.fspath(filepath))
    except TypeError:
        raise InputError(f"Expected the path of a file of weights; got {filepath!r}.") from None
    if "://" in str(filepath):
        raise InputError(f"Expected the path of a local file of weights; got {filepath}: copy it from there.")
    return path


def _index(path: Path) -> Path:
    """Return the index of the checkpoint with the prefix `path`."""
    return path.with_name(path.name + ".index")


def _format(path: Path, save_format: str | None) -> str:
    """Return the format of a file, by its ending if None is asked for."""
    names = {"h5": "h5", "hdf5": "h5", "keras": "h5", "npz": "npz", "tf": "tf", "tensorflow": "tf"}
    by_name = "h5" if path.name.endswith(HDF5) else "npz" if path.name.endswith(".npz") else "tf"
    if not path.name or path.is_dir():
        raise InputError(f"{path} is a folder: give the path of a file, such as {path / 'vae.weights.h5'}.")
    if save_format is None:
        return by_name
    if names.get(save_format) != by_name:
        raise InputError(
            f"The ending of {path} must be that of its format, {save_format!r}: .h5 for h5, .npz for npz, "
            "none for tf."
        )
    return by_name


# ---- the formats -----------------------------------------------------------------------------------

Arrays = Mapping[str, np.ndarray]


def write_npz(path: Path, arrays: Arrays) -> None:
    """Write arrays to an .npz file, atomically."""
    write_atomic(path, lambda file: np.savez(file, **dict[str, Any](arrays)))


def _write_hdf5(path: Path, arrays: Arrays) -> None:
    def write(file: Any) -> None:
        with h5py.File(file, "w") as content:
            for key, array in arrays.items():
                content.create_dataset(key, data=array)

    write_atomic(path, write)


def _write_checkpoint(path: Path, arrays: Arrays) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )
    name = json.dumps(path.name)  # relative, so that the folder can be moved
    state = f"model_checkpoint_path: {name}\nall_model_checkpoint_paths: {name}\n"
    write_text(path.with_name("checkpoint"), state)  # for tf.train.latest_checkpoint


def _read_npz(path: Path, expected: Mapping[str, npz.Spec]) -> dict[str, np.ndarray]:
    return npz.read_expected(path, "weights", expected)


def _read_hdf5(path: Path, expected: Mapping[str, npz.Spec]) -> dict[str, np.ndarray]:
    with refusals(path, "weights"), h5py.File(path, "r") as content:
        stored: dict[str, Any] = {}
        content.visititems(lambda key, item: stored.update({key: item}) if hasattr(item, "dtype") else None)
        if any(
            item.external or item.is_virtual for item in stored.values() if isinstance(item, h5py.Dataset)
        ):
            raise InputError(f"{path} refers to values in other files: give a file of vae.save_weights.")
        specs = {key: (item.shape, item.dtype) for key, item in stored.items()}
        _check(path, specs, expected)
        return _finite(path, {key: np.asarray(stored[key][()]) for key in expected})


def _read_checkpoint(path: Path, expected: Mapping[str, npz.Spec]) -> dict[str, np.ndarray]:
    with refusals(path, "weights"):
        if not _index(path).is_file():
            raise InputError(f"There is no file and no checkpoint {path}: give the path of weights.")
        reader = tf.train.load_checkpoint(str(path))
        types = reader.get_variable_to_dtype_map()
        shapes = reader.get_variable_to_shape_map()
        specs = {key: (tuple(shape), types[key].as_numpy_dtype) for key, shape in shapes.items()}
        _check(path, specs, expected)
        return _finite(path, {key: reader.get_tensor(key) for key in expected})


def _check(path: Path, specs: Mapping[str, Any], expected: Mapping[str, npz.Spec]) -> None:
    """Refuse names, shapes and types other than the model's, before a value is read."""
    npz.refuse_names(path, specs, expected, what="a file of vae.save_weights")
    for key, (shape, dtype) in expected.items():
        stored_shape, stored_type = specs[key]
        if tuple(stored_shape or ()) != shape or np.dtype(stored_type) != dtype:
            raise InputError(
                f"{path}: {key} must be {dtype} of shape {list(shape)} for this model; it is "
                f"{np.dtype(stored_type)} of shape {list(stored_shape or ())}."
            )


def _finite(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(
                f"{path}: {key} must be finite; some of its values are not. Load weights that were saved "
                "before training failed."
            )
    return arrays


WRITERS = {"h5": _write_hdf5, "npz": write_npz, "tf": _write_checkpoint}
READERS = {"h5": _read_hdf5, "npz": _read_npz, "tf": _read_checkpoint}
