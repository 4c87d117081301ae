import numpy as np
import pytest

from probvae import InputError, data
from probvae.data import loading
from probvae.data.dataset import Options
from probvae.data.schema import Schema
from probvae.data.splits import assemble, held_out, validation_split

X = np.arange(100, dtype=np.float32)[:, None]


def test_splits_are_disjoint_repeatable_and_complete():
    options = Options(seed=3, validation=0.25)
    d = assemble("a", {"x": X, "y": np.arange(100)}, options)
    assert (len(d.train), len(d.validation), len(d.test)) == (68, 22, 10)
    parts = [d.train, d.validation, d.test]
    assert sorted(np.concatenate(parts).ravel()) == list(range(100))
    for x, y in zip(parts, [d.train_labels, d.validation_labels, d.test_labels], strict=True):
        np.testing.assert_array_equal(x[:, 0], y)
    again = assemble("a", {"x": X, "y": np.arange(100)}, options)
    assert d.fingerprint() == again.fingerprint()
    others = [Options(seed=4, validation=0.25), Options(seed=3), Options(seed=3, validation=0.3)]
    prints = {assemble("a", {"x": X}, o).fingerprint() for o in [options, *others]}
    assert len(prints) == 4


def test_held_out_rows_are_drawn():
    """Of rows that are sorted: neither the first of them nor a run of neighbours, nor in order."""
    d = assemble("a", {"x": X}, Options(seed=3, validation=0.25))
    for held in (d.test[:, 0], d.validation[:, 0]):
        neighbours = np.diff(held.astype(int)) == 1
        assert np.any(held > 50) and np.any(held < 50) and np.mean(neighbours) < 0.3


def test_the_test_set_does_not_depend_on_the_validation_fraction():
    tests = [assemble("a", {"x": X}, Options(validation=v)).test for v in (0.0, 0.1, 0.5)]
    np.testing.assert_array_equal(tests[0], tests[1])
    np.testing.assert_array_equal(tests[0], tests[2])


def test_a_named_training_set_keeps_its_order():
    d = assemble("a", {"x_train": X, "x_test": X[:5]}, Options(validation=0.5))
    assert len(d.train) == len(d.validation) == 50
    assert np.all(np.diff(d.train[:, 0]) > 0) and not np.all(np.diff(d.validation[:, 0]) > 0)
    np.testing.assert_array_equal(d.test, X[:5])


def test_a_named_validation_set(tmp_path):
    parts = {"x_train": X, "x_test": X[:5], "x_validation": X[:7], "y_validation": np.arange(7)}
    np.savez(tmp_path / "a.npz", **parts)
    d = loading.load(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(d.validation, X[:7])
    assert d.validation_labels.tolist() == list(range(7)) and d.train_labels is None
    with pytest.raises(InputError, match="holds a validation set: leave out --validation"):
        loading.load(str(tmp_path / "a.npz"), validation=0.1)


@pytest.mark.parametrize("size", [2, 3, 10, 11])
def test_small_sets_still_have_every_part(size):
    train, test = held_out("a", size, 0)
    assert len(test) >= 1 and sorted([*train, *test]) == list(range(size))
    if len(train) > 1:
        for fraction in (1e-9, 0.5, 0.999):
            rest, validation = validation_split("a", train, Options(validation=fraction))
            assert len(rest) and len(validation) and sorted([*rest, *validation]) == sorted(train)


def test_too_small_sets():
    with pytest.raises(InputError, match="two examples or more"):
        held_out("a", 1, 0)
    with pytest.raises(InputError, match="two training examples or more"):
        validation_split("a", np.array([0]), Options(validation=0.1))


def test_options_of_a_run_do_not_hinder_other_data(tmp_path):
    schema = Schema((4, 4, 1), "image", white=255, divisor=255)
    x = np.arange(160, dtype=np.uint8).reshape(10, 4, 4)
    np.savez(tmp_path / "a.npz", x_train=x, x_test=x, x_val=x[:3])
    options = {
        "color": "grey",
        "validation": 0.5,
        "na": ("-",),
        "delimiter": ";",
    }  # of a folder or a .csv file
    d = data.load(tmp_path / "a.npz", schema=schema, **options)
    assert len(d.train) == 10 and len(d.validation) == 3
    with pytest.raises(InputError, match="color is for folders of images"):
        data.load(tmp_path / "a.npz", **options)


def test_data_are_of_the_kind_that_a_schema_says(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X, x_test=X)
    (tmp_path / "a.csv").write_text("n\n" + "\n".join(map(str, range(20))))
    table = data.load(tmp_path / "a.csv").schema
    with pytest.raises(InputError, match=r"takes a table with the columns n; a\.npz holds arrays"):
        data.load(tmp_path / "a.npz", schema=table)
    with pytest.raises(InputError, match=r"takes x of shape \[1\], of arrays; a.csv is a table"):
        data.load(tmp_path / "a.csv", schema=Schema((1,), "vector"))
    for source, message in (
        (X, "DataFrame; got ndarray"),
        ("a" * 5000, "got 'aaa"),
        ("a" * 5000 + ".csv", "aaa"),
    ):
        with pytest.raises(InputError, match=message):
            data.load(source)
