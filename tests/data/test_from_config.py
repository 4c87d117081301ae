import numpy as np
import pytest

from probvae import Architecture, InputError, Training
from probvae.data import from_config, loading


@pytest.fixture
def labelled(tmp_path):
    rng = np.random.default_rng(0)
    x = (rng.random([60, 8, 8]) * 255).astype(np.uint8)
    path = tmp_path / "labelled.npz"
    np.savez(path, x_train=x, x_test=x[:20], y_train=np.arange(60) % 3, y_test=np.arange(20) % 3)
    return path


def test_conditional_rows_hold_the_image_and_its_class(labelled):
    training = Training(data=str(labelled), labels="condition", validation=0.2)
    examples = from_config.read(training, missing=False)
    fields = from_config.shape_fields(examples, training, "bernoulli")
    assert fields == {"event_shape": (8, 8, 1), "context_dim": 3, "classifier": False}
    prepared = from_config.prepare(examples, training, Architecture(**fields))
    assert prepared.train.shape == (48, 67) and prepared.validation.shape == (12, 67)
    np.testing.assert_array_equal(prepared.test[:, 64:].argmax(axis=1), np.arange(20) % 3)
    np.testing.assert_array_equal(prepared.test[:, :64].reshape(-1, 8, 8, 1), examples.test > 127.5)
    assert np.all(prepared.train[:, 64:].sum(axis=1) == 1)


def test_semi_supervised_hides_labels_of_the_training_set_alone(labelled):
    training = Training(data=str(labelled), labels="semi", labelled=0.3)
    examples = from_config.read(training, missing=False)
    fields = from_config.shape_fields(examples, training, "bernoulli")
    assert fields["classifier"] is True
    a, b = (
        from_config.prepare(examples, Training(**{**vars(training), "seed": seed}), Architecture(**fields))
        for seed in (0, 1)
    )
    known = a.train[:, 64:].sum(axis=1)
    assert 5 < known.sum() < 35 and set(known) == {0, 1}
    np.testing.assert_array_equal(a.train, b.train)  # which ones does not depend on the run's seed
    assert np.all(a.test[:, 64:].sum(axis=1) == 1)


def test_a_label_seed_chooses_the_known_labels_and_the_seed_of_a_run_does_not(labelled):
    def known(**fields):
        training = Training(data=str(labelled), labels="semi", labelled=0.3, **fields)
        examples = from_config.read(training, missing=False)
        architecture = Architecture(**from_config.shape_fields(examples, training, "bernoulli"))
        return from_config.prepare(examples, training, architecture).train[:, 64:].any(axis=1).tolist()

    assert known() == known(seed=5) == known(label_seed=0) != known(label_seed=1)
    assert sum(known()) == sum(known(label_seed=1))


def test_unlabelled_data_and_unknown_classes_are_refused(labelled, tmp_path):
    training = Training(data=str(labelled), labels="condition")
    examples = from_config.read(training, missing=False)
    with pytest.raises(InputError, match=r"knows 2 classes; labelled.npz holds labels up to 2"):
        from_config.prepare(examples, training, Architecture((8, 8, 1), context_dim=2))
    np.savez(tmp_path / "plain.npz", x=np.zeros([20, 8, 8], np.uint8))
    plain = loading.load(str(tmp_path / "plain.npz"))
    with pytest.raises(InputError, match=r"labels needs labelled data; plain.npz has none"):
        from_config.shape_fields(plain, training, "bernoulli")
    with pytest.raises(InputError, match="mixed is for tables"):
        from_config.shape_fields(plain, Training(), "mixed")


def test_defaults_follow_the_shape_of_the_data(tmp_path):
    rng = np.random.default_rng(0)
    cases = {"image": [20, 8, 8], "series": [20, 12, 2], "vector": [20, 5]}
    found = {}
    for kind, shape in cases.items():
        path = tmp_path / f"{kind}.npy"
        np.save(path, rng.random(shape).astype(np.float32))
        examples = from_config.read(Training(data=str(path), kind=kind), missing=False)
        found[kind] = from_config.defaults(examples)
        fields = {**found[kind], **from_config.shape_fields(examples, Training(), found[kind]["likelihood"])}
        expected = "threshold" if kind == "image" else "none"
        assert from_config.default_binarize(Architecture(**fields)) == expected
    assert [found[kind]["network"] for kind in cases] == ["conv", "conv1d", "mlp"]
    assert [found[kind]["likelihood"] for kind in cases] == ["bernoulli", "normal", "normal"]
    (tmp_path / "table.csv").write_text("a,b\n" + "".join(f"{i / 7},{'xy'[i % 2]}\n" for i in range(30)))
    table = from_config.read(Training(data=str(tmp_path / "table.csv")), missing=False)
    assert from_config.defaults(table) == {"likelihood": "mixed", "network": "mlp"}
    assert len(from_config.shape_fields(table, Training(), "mixed")["columns"]) == 2
