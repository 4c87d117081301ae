"""Every door of Python by which x enters a model, times every kind of wrong x."""

import re

import numpy as np
import pandas as pd
import pytest
import python_doors as doors
import tensorflow as tf
from marked_cases import cases

from probvae import VAE, Architecture, build
from probvae.data.tables.table_files import whole_frame
from probvae.errors import InputError
from probvae.objectives import OBJECTIVES, memory
from probvae.priors import PRIORS, PriorContext


@pytest.fixture(scope="module")
def vae():
    return doors.model()


COMPILED = ("ais", "posterior_samples", "optimize_posteriors")  # long loops
SLOW = [name for name in doors.DOORS if name.removeprefix("inference.").partition("(")[0] in COMPILED]
SLOW += ["vae.fit(dataset)", "vae.fit(generator)"]


@pytest.mark.parametrize("name", cases(doors.DOORS, slow=SLOW))
def test_wrong_x_is_refused_in_a_sentence_and_right_x_taken_afterwards(name, vae):
    door, x = doors.DOORS[name], doors.right()
    before = [v.numpy() for v in vae.variables]
    for kind, wrong in doors.WRONG.items():
        if kind in doors.ALLOWED.get(name, ()):
            continue
        said = doors.says(door, vae, wrong(x))
        assert not said.startswith("!!") and said.endswith(".") and "\n" not in said, (kind, said)
    for variable, value in zip(vae.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    door(vae, x)


@pytest.mark.parametrize("name", doors.CONTEXTS)
def test_wrong_y_is_refused_in_a_sentence_and_right_y_taken_afterwards(name):
    vae, door, x = doors.conditional(), doors.CONTEXTS[name], doors.right()
    for kind, wrong in doors.WRONG_CONTEXTS.items():
        said = doors.says(door, vae, x, wrong)
        assert not said.startswith("!!") and said.endswith(".") and "\n" not in said, (kind, said)
    door(vae, x, 1)
    door(vae, x, tf.constant([0.0, 0.5, -1.0]))


NUMBERS = (
    (doors.COUNTS, doors.WRONG_COUNTS, "must be a whole number of at least [012]; got "),
    (doors.SEEDS, doors.WRONG_SEEDS, r"A seed must be an int or an int32 pair of shape \[2\]; got "),
    (doors.WEIGHTS, doors.WRONG_WEIGHTS, "must be a finite number.*; got "),
    (
        doors.SAMPLES,
        doors.WRONG_SAMPLES,
        "The number of draws must be a whole number of at (least 0|most .*); got ",
    ),
    (doors.NAMES, doors.WRONG_NAMES, "must be (one of|of type str).*; got "),
    (doors.FLAGS, doors.WRONG_FLAGS, "must be (True or False|of type bool); got "),
)


@pytest.mark.parametrize(
    ("entries", "wrong", "sentence"), NUMBERS, ids=["counts", "seeds", "weights", "samples", "names", "flags"]
)
def test_wrong_numbers_are_refused_in_a_sentence(entries, wrong, sentence, vae):
    x = doors.right()
    for name, door in entries.items():
        for value in wrong:
            said = doors.says(door, vae, x, value)
            assert re.search(sentence, said) and said.endswith("."), (name, value, said)
    doors.SEEDS["vae.compile(seed=s)"](vae, x, 0)


def test_numbers_beyond_int32_are_refused_in_a_sentence(vae):
    x = doors.right()
    for name, door in doors.COUNTS.items():
        for value in doors.LARGE_COUNTS:
            said = doors.says(door, vae, x, value)
            assert re.search(r"must be a whole number of at most 2,147,483,647; got [\d,]+\.$", said), (
                name,
                said,
            )


# Whose results or draws grow with the number; the others work on one draw after the other.
GROWING = [
    name
    for name in doors.COUNTS
    if re.search(
        r"objectives|sample\(n|prior_draws|posterior_draws|num_chains|impute|steps=n\)$|importance", name
    )
    and "num_steps" not in name
]


def test_draws_that_do_not_fit_into_memory_are_refused_in_a_sentence(vae, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**31)
    x = doors.right()
    for name in GROWING:
        said = doors.says(doors.COUNTS[name], vae, x, 10**9)
        assert re.search(r"=1,000,000,000 needs at least .* GiB of memory, .*: use (at most|fewer)", said), (
            name,
            said,
        )


def test_arguments_of_other_classes_are_refused_in_a_sentence_and_nothing_is_written(vae, tmp_path):
    before, folder = [v.numpy() for v in vae.variables], tmp_path / "model"
    for name, call in doors.wrong_calls(vae, folder).items():
        said = doors.says(call)
        assert not said.startswith("!!") and said.endswith(".") and "\n" not in said, (name, said)
        print(name, said)
    assert not list(tmp_path.iterdir())
    for variable, value in zip(vae.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_advice_on_tables_names_a_schema_only_where_there_is_one(vae):
    frame = pd.DataFrame(doors.right(), columns=list("abcdef"))
    with pytest.raises(InputError, match=r"got a DataFrame: give frame\.to_numpy\(\)"):
        vae.fit(frame)
    x, schema = whole_frame(frame.astype(str).replace({"0.0": "a", "1.0": "b"}), kinds={})
    columns = {"likelihood": "mixed", "columns": schema.likelihoods}
    table = build(Architecture(event_shape=(6,), network="mlp", units=(4,), **columns), schema=schema)
    with pytest.raises(InputError, match=r"got a DataFrame: give vae\.schema\.encode\(frame\)"):
        table.posterior(frame)
    assert table.posterior(x).batch_shape == [8]


def test_the_joint_pinned_at_x_takes_z_by_place_and_by_name(vae):
    z, x = np.float32(np.random.default_rng(0).standard_normal([4, 8, 2])), doors.right()
    given, joined = doors.conditional(), doors.conditional().join(doors.right(), 1)
    for model, example in ((vae, x), (given, joined)):
        target = model.joint().experimental_pin(x=example)
        expected = model.likelihood(z).log_prob(example) + model.prior.log_prob(z)
        np.testing.assert_allclose(target.unnormalized_log_prob(z), expected, rtol=1e-6)
        np.testing.assert_allclose(target.unnormalized_log_prob(z=z), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["elbo", "free_bits"])
def test_a_kl_without_a_closed_form_is_refused_by_the_names_of_the_pair(name, vae):
    x, objective = doors.right(), OBJECTIVES[name]
    assert np.all(np.isfinite(objective(vae, x, seed=0, analytic_kl=True)))
    prior = PRIORS["realnvp"](2, seed=0, context=PriorContext())
    built = build(Architecture(event_shape=(6,), network="mlp", units=(4,), prior="realnvp"))
    own = VAE(prior, vae.encoder, vae.decoder)
    for model, pair in (
        (built, "posterior diagonal and the prior realnvp"),
        (own, "posterior MultivariateNormalDiag and the prior .*"),
    ):
        with pytest.raises(
            InputError, match=rf"The KL of the {pair} has no closed form: leave analytic_kl out"
        ):
            objective(model, x, seed=0, analytic_kl=True)
