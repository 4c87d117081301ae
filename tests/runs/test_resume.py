"""A training that was interrupted and goes on gives what an uninterrupted one gives, bit for bit."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import tiny_vae
from marked_cases import cases

import probvae
from probvae.config.training import Every, Training
from probvae.data.binarization import prepare
from probvae.data.dataset import DataSet
from probvae.errors import InputError
from probvae.runs.checkpoints import DAMAGED, Origin, load_state, save_state
from probvae.training.state import Row, State
from probvae.training.trainer import Trainer, fit

GREY = np.random.default_rng(0).integers(0, 256, [43, 8, 8, 1]).astype(np.uint8)
HELD_OUT = GREY[::-1][:9]
CASES = {
    "plain": ({}, {}),
    "dynamic binarization, IWAE in parts, clipped": (
        {"binarize": "dynamic", "objective": "iwae", "num_samples": 3, "parts": 2, "clip_norm": 0.5},
        {},
    ),
    "schedule and warm-ups, best on a validation set": (
        {
            "schedule": "cosine",
            "warmup_steps": 5,
            "objective": "elbo",
            "beta_warmup": "cyclic",
            "beta_warmup_steps": 7,
            "validation": 0.1,
            "patience": 2,
        },
        {},
    ),
    "moving average, weight decay, best on a validation set": (
        {"average": 0.8, "weight_decay": 0.1, "validation": 0.1},
        {},
    ),
    "loss scaling, VampPrior": (
        {"precision": "mixed_float16", "average": 0.8, "weight_decay": 0.1},
        {"posterior": "tril", "prior": "vamp", "components": 4},
    ),
}


def data(binarize="threshold", validation=None, images=GREY):
    return prepare(
        DataSet("tiny", images, images[:11], None, None, 255, validation=validation), binarize=binarize
    )


def setting(case):
    options, choices = CASES[case]
    training = Training(batch_size=8, epochs=4, learning_rate=1e-2, seed=3, **options)
    held_out = HELD_OUT if training.validation else None
    return training, data(training.binarize, held_out), choices


def timeless(history):
    return [dataclasses.replace(row, seconds=0.0, images_per_second=0.0) for row in history]


def stop_after(calls):
    """A wish to stop at the n-th time that it is asked for."""
    count = iter(range(calls))
    return lambda: next(count, None) is None


def trainer_of(case):
    training, examples, choices = setting(case)
    vae = tiny_vae(**choices)
    if training.precision != "float32":
        vae = probvae.build(vae.architecture, precision=training.precision)
    return Trainer(vae, examples, training)


def assert_same(a, b):
    for name in ("weights", "optimizer", "best"):
        for x, y in zip(getattr(a, name), getattr(b, name), strict=True):
            np.testing.assert_array_equal(x, y)
    assert timeless(a.history) == timeless(b.history)
    assert (a.epoch, a.position, a.best_elbo, a.stale, a.tally) == (
        b.epoch,
        b.position,
        b.best_elbo,
        b.stale,
        b.tally,
    )


LONG = {"plain": "test_a_state_that_lacks_something_is_caught"}


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(CASES, long=LONG))
def test_resumed_is_uninterrupted(case, tmp_path, request):
    """Interrupted twice, within an epoch, and gone on from the file by a new model and optimizer."""
    if case.startswith("loss scaling"):
        request.applymarker(pytest.mark.xfail(strict=True, reason="a checkpoint lacks the loss scale"))
    whole = trainer_of(case)
    history = whole.fit()
    for number, calls in enumerate((2, 2)):
        part = trainer_of(case)
        if number:
            part.restore(load_state(tmp_path, part.state())[0])
        # a piece has two steps or one, so that the wish comes within an epoch
        part.fit(
            every=Every(steps=2),
            should_stop=stop_after(calls),
            on_state=lambda state: save_state(tmp_path, state, Origin("f")),
        )
        assert 0 < part.state().position < 43
    rest = trainer_of(case)
    rest.restore(load_state(tmp_path, rest.state())[0])
    assert timeless(rest.fit()) == timeless(history)
    assert_same(rest.state(), whole.state())


@pytest.fixture(scope="module")
def run():
    """A training, compiled once, and its state before the first step, from which each test goes on."""
    trainer = trainer_of("plain")
    return trainer, trainer.state()


def test_a_state_that_lacks_something_is_caught(run):
    """The power of the test above: whatever is left out shows."""
    (run, start), states = run, []
    run.restore(start)
    run.fit(every=Every(steps=2), on_state=states.append)
    for lost in (None, "weights", "optimizer", "position", "tally", "epoch", "history"):
        middle = states[4]
        assert middle.epoch and middle.position
        run.restore(dataclasses.replace(middle, **({lost: getattr(start, lost)} if lost else {})))
        run.fit()
        if lost is None:
            assert_same(run.state(), states[-1])
        else:
            with pytest.raises(AssertionError):
                assert_same(run.state(), states[-1])


@pytest.mark.slow
def test_more_epochs_are_one_longer_run(states):
    long, _, _ = setting("plain")
    short = dataclasses.replace(long, epochs=2)
    shorter, longer = [], []
    fit(tiny_vae(), data(), short, on_state=shorter.append)
    fit(tiny_vae(), data(), long, state=shorter[-1], on_state=longer.append)
    assert_same(longer[-1], states[-1])


def test_states_come_at_the_steps_asked_for(run):
    (run, start), steps, often = run, [], []
    run.restore(start)
    run.fit(every=Every(steps=4), on_state=lambda state: steps.append(state.step))
    assert steps == [4, 6, 8, 12, 16, 18, 20, 24]  # 6 steps an epoch
    run.restore(start)
    run.fit(every=Every(seconds=1e-9), on_state=lambda state: often.append(state.step))
    assert often == sorted(set(often)) and {6, 12, 18, 24} < set(often)


# ---- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def states(run):
    (run, start), found = run, []
    run.restore(start)
    run.fit(on_state=found.append)
    return found


def write(folder, states):
    return [save_state(folder, state, Origin("f", 2)) for state in states]


def test_the_last_two_are_kept_and_the_last_is_read(states, tmp_path):
    write(tmp_path, states)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000000018.state", "step-000000024.state"]
    state, origin = load_state(tmp_path, states[0])
    assert_same(state, states[-1])
    assert origin == Origin("f", 2)
    assert state == dataclasses.replace(
        states[-1], **{n: getattr(state, n) for n in ("weights", "optimizer")}
    )


def test_no_checkpoint_is_no_error(states, tmp_path):
    assert load_state(tmp_path, states[0]) is None


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES = {
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "another file": lambda content: b"PK\x03\x04" + content,
    "a bit of the first line": lambda content: flipped(content, 3),
    "a bit of the checksum": lambda content: flipped(content, 30),
    "a bit of a weight": lambda content: flipped(content, len(content) // 3),
    "a bit of the end": lambda content: flipped(content, len(content) - 10),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(damage, states, tmp_path):
    _, last = write(tmp_path, states[-2:])
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged .* the checkpoint before it is used"):
        state, _ = load_state(tmp_path, states[0])
    assert_same(state, states[-2])
    assert last.with_name(last.name + DAMAGED).exists() and not last.exists()


def test_every_flipped_bit_is_noticed(states, tmp_path):
    """At 300 places spread over the file; none gives a state."""
    (path,) = write(tmp_path, states[:1])
    content = path.read_bytes()
    for place in np.linspace(0, len(content) - 1, 300).astype(int):
        path.write_bytes(flipped(content, int(place)))
        with (
            pytest.warns(UserWarning, match="is damaged"),
            pytest.raises(InputError, match="damaged or spoilt: train anew"),
        ):
            load_state(tmp_path, states[0])


def test_all_damaged_is_an_error_then_and_later(states, tmp_path):
    for path in write(tmp_path, states[:2]):
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(InputError, match="All checkpoints"):
        load_state(tmp_path, states[0])
    with pytest.raises(InputError, match="All checkpoints"):
        load_state(tmp_path, states[0])


def forged(state, **changes):
    """A checkpoint with a right checksum and other content."""
    return dataclasses.replace(state, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": []}, "does not fit the model: it lacks"),
        ({"optimizer": [np.zeros([])]}, "does not fit the model: it lacks"),
        ({"epoch": 7}, "its history has 1 rows for 7 epochs"),
        ({"position": -8}, "counts are out of range"),
        ({"position": 2.5}, "counts are out of range"),
        ({"tally": (0.0,)}, "counts are out of range"),
        ({"seconds": float("nan")}, "sums are not finite"),
        ({"best_elbo": 1.0}, "does not fit the model: it lacks"),
        ({"history": (Row("one", *[0.0] * 6),)}, "something else than numbers"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(changes, message, states, tmp_path):
    save_state(tmp_path, forged(states[0], **changes), Origin("f"))
    with pytest.raises(InputError, match=message) as caught:
        load_state(tmp_path, states[0])
    assert "\n" not in str(caught.value)


def test_a_checkpoint_never_runs_code(states, tmp_path):
    weights = [np.array([print], dtype=object), *states[0].weights[1:]]
    (path,) = write(tmp_path, [dataclasses.replace(states[0], weights=weights)])
    assert path.exists()
    with pytest.raises(InputError, match="Python objects"):
        load_state(tmp_path, states[0])


def test_the_rest_of_a_state_is_plain_json(states):
    fields = {f.name for f in dataclasses.fields(State)} - {"weights", "optimizer", "best", "history"}
    json.dumps({name: getattr(states[-1], name) for name in fields}, allow_nan=False)
