import dataclasses
import json
import re

import pytest
import settings_table

from probvae import Architecture, InputError, Training, data, likelihoods, objectives, posteriors, priors
from probvae.cli.train import main
from probvae.config.choices import CHOICES, OBJECTIVES, RECIPES
from probvae.config.json_file import from_json, to_json
from probvae.config.training import parse_kinds
from probvae.models.networks import registry as networks
from probvae.training import optimizer

ROW = re.compile(r"^\| `(\w+)` \|.*\|([^|]*)\|$", re.MULTILINE)  # the name and the last cell of a table's row
REGISTRIES = {
    "posterior": posteriors.POSTERIORS,
    "prior": priors.PRIORS,
    "likelihood": likelihoods.LIKELIHOODS,
    "network": networks.NETWORKS,
    "objective": objectives.OBJECTIVES,
    "beta_warmup": objectives.WARMUPS,
    "binarize": data.BINARIZATIONS,
    "schedule": optimizer.SCHEDULES,
    "optimizer": optimizer.OPTIMIZERS,
    "crop": data.CROPS,
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free_bits": 1.0}, "free_bits is an option of the objective free_bits; got objective 'elbo'"),
        ({"alpha": 2}, "alpha is an option of the objective renyi"),
        ({"mmd_weight": 1}, "mmd_weight is an option of the objective mmd"),
        (
            {"objective": "dreg", "num_samples": 5, "beta": 2},
            "beta is an option of the objectives elbo, iwae",
        ),
        (
            {"objective": "iwae", "num_samples": 5, "beta": 1},
            "at least 0 and below 1, with which it would be",
        ),
        ({"objective": "dreg", "num_samples": 5, "groups": 2}, "groups is an option of the objectives iwae"),
        ({"objective": "piwae", "num_samples": 5}, "piwae with one group of draws is the iwae: set groups"),
        ({"beta_warmup_steps": 30}, "beta_warmup_steps needs a beta_warmup"),
        ({"objective": "dreg"}, "dreg with one draw is the stl: set num_samples"),
        ({"objective": "renyi"}, "renyi with one draw is the elbo"),
        ({"objective": "mmd", "labels": "semi"}, "mmd looks at a batch as a whole"),
        ({"labels": "semi", "labelled": 0}, "labelled must be above 0"),
        ({"labels": "condition", "labelled": 0.5}, "labelled is an option of labels semi"),
        ({"label_seed": 3}, "label_seed is an option of labels semi"),
        ({"patience": 3}, "patience needs a validation set"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Training(**options)
    Training(objective="free_bits", analytic_kl=True, free_bits=1.0)


def test_choices_are_the_registries():
    assert {name: tuple(registry) for name, registry in REGISTRIES.items()} == {
        name: names for name, names in CHOICES.items() if name in REGISTRIES
    }
    # these are lists of names without functions of ours behind them
    assert CHOICES.keys() - REGISTRIES.keys() == {
        "activation",
        "labels",
        "kind",
        "color",
        "decimal",
        "on_nonfinite",
        "precision",
    }


def test_json_there_and_back():
    architecture = Architecture((9, 8, 3), latent_dim=7, posterior="tril", filters=(5,))
    chosen = Training(data="digits", epochs=3, learning_rate=1)
    assert from_json(to_json(architecture, chosen, "0" * 64)) == (architecture, chosen, "0" * 64)
    assert from_json(to_json(None)) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be from 1 to 4,096; got 0"),
        ({"latent_dim": 2.5}, "latent_dim must be of type int; got 2.5"),
        ({"latent_dim": True}, "latent_dim must be of type int; got True"),
        ({"posterior": "cauchy"}, "posterior must be one of diagonal, tril, .*; got 'cauchy'"),
        ({"filters": ()}, "filters must be a list of one or more integers"),
        ({"filters": (3, -1)}, "filters must be from 1 to 4,096"),
        ({"filters": "32"}, "filters must be a list of integers; got '32'"),
        ({"event_shape": ()}, "event_shape must have one to three sizes"),
        ({"event_shape": (28, 28, 1.0)}, "event_shape must be a list of integers"),
        ({"columns": "normal"}, "columns must be a list of strings; got 'normal'"),
        ({"columns": ("normal",), "event_shape": (1,)}, "columns and the likelihood mixed belong together"),
        ({"latent_layers": (3, 4)}, r"latent_layers must sum to latent_dim; got \(3, 4\) and 2"),
        ({"latent_layers": (2,)}, "must name two or more layers"),
        ({"latent_layers": (1, 1), "posterior": "tril"}, "A hierarchy has the posterior diagonal"),
        ({"classifier": True}, "classifier needs classes"),
        ({"context_dim": 3, "prior": "vamp"}, "vamp does not know y"),
    ],
)
def test_bad_architecture(options, message):
    with pytest.raises(InputError, match=message):
        Architecture(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "epochs must be from 0 to 1,000,000; got -1"),
        ({"learning_rate": float("nan")}, "learning_rate must be from 0.0 to 10.0; got nan"),
        ({"learning_rate": "fast"}, "learning_rate must be of type float; got 'fast'"),
        ({"objective": "iwae"}, "iwae with one draw is the elbo: set num_samples to 2 or more"),
        (
            {"analytic_kl": True, "objective": "iwae"},
            "analytic_kl is an option of the objectives elbo, free_bits",
        ),
    ],
)
def test_bad_training(options, message):
    with pytest.raises(InputError, match=message):
        Training(**options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must hold JSON"),
        ("[]", "must hold an object"),
        ("{}", "must be of format 3 or 2; it is of format None"),
        ('{"format": 2, "colour": 2}', "unknown key 'colour'"),
        (
            '{"format": 2, "architecture": {"depth": 2}}',
            "architecture in config.json has the unknown key 'depth'",
        ),
        ('{"format": 2, "architecture": [1]}', "architecture in config.json must be an object"),
        ("[" * 100_000, "must hold JSON"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(InputError, match=message):
        from_json(text)


@pytest.mark.parametrize("cls", [Architecture, Training])
def test_every_field_is_documented_and_survives(cls):
    for field in dataclasses.fields(cls):
        text = field.metadata["help"]
        assert f"\n  {field.name}: {text}\n" in cls.__doc__
        assert text[0].isupper() and text.endswith(".")
    part = {"Architecture": "architecture", "Training": "training"}[cls.__name__]
    assert json.loads(to_json(Architecture(), Training()))[part].keys() == {
        f.name for f in dataclasses.fields(cls)
    }


def test_every_setting_is_an_option_of_probvae_train():
    settings = {f.name: f for f in (*dataclasses.fields(Architecture), *dataclasses.fields(Training))}
    options = {option.name: option for option in main.params}
    assert {"event_shape", "columns", "context_dim", "classifier"} == settings.keys() - options.keys()
    for name in settings.keys() & options.keys():
        option, choices = options[name], getattr(options[name].type, "choices", None)
        assert option.opts == ["--" + name.replace("_", "-")] and option.default is None
        assert (choices and tuple(choices)) == CHOICES.get(name)
        assert option.is_flag == isinstance(settings[name].default, bool)
        assert settings[name].metadata["help"].split("`")[0] in option.help


@pytest.mark.parametrize(
    ("texts", "kinds"),
    [
        (["id=ignore,name=ignore"], {"id": "ignore", "name": "ignore"}),
        (["id=ignore", "a=b=normal"], {"id": "ignore", "a=b": "normal"}),
        (["a, b=normal,c=categorical:3"], {"a, b": "normal", "c": "categorical:3"}),
        (['"x=normal,y"=poisson,"say ""hi"""=ignore'], {"x=normal,y": "poisson", 'say "hi"': "ignore"}),
        (["=n=ignore"], {"=n": "ignore"}),
        (["a\nb=ignore"], {"a\nb": "ignore"}),
        ([], {}),
    ],
)
def test_kinds_of_columns_by_name(texts, kinds):
    assert parse_kinds(texts) == kinds
    Training(column_kinds=texts)


@pytest.mark.parametrize("text", ["", "id", "=ignore", "id=", "id=Ignore", "a=normal,b"])
def test_kinds_of_columns_without_a_name_or_a_kind_are_refused(text):
    with pytest.raises(InputError, match="column_kinds must be of the form NAME=KIND"):
        Training(column_kinds=(text,))


def test_the_documents_tables_are_those_of_the_declarations():
    """`python tests/tools/settings_table.py` writes the settings anew."""
    page = settings_table.PAGE.read_text()
    assert settings_table.MARKED.search(page)[0] == settings_table.tables()
    rows = re.search(r"^## Objectives$(.*?)^## ", page, re.MULTILINE | re.DOTALL)[1]
    options = {row[1]: set(re.findall(r"`(\w+)`", row[2])) for row in re.finditer(ROW, rows)}
    assert options == {name: set(entry.options) for name, entry in OBJECTIVES.items()}


def test_recipes_are_valid_and_the_tutorials_is_the_tutorial():
    for recipe in RECIPES.values():
        Training(**recipe)
    tutorial = Training(**RECIPES["tutorial"])
    assert (tutorial.batch_size, tutorial.epochs, tutorial.learning_rate) == (32, 10, 1e-4)
    assert (tutorial.num_samples, tutorial.binarize, tutorial.schedule) == (1, "threshold", "constant")


def test_a_beta_written_before_it_depended_on_the_objective_is_read_as_it_was_meant():
    """With the objective iwae, 1 stood for no weight of the KL; now it would be the ELBO."""
    architecture = Architecture()
    for objective, written, meant in (("iwae", 1.0, 0.0), ("elbo", 1.0, 1.0), ("elbo", 2.0, 2.0)):
        fields = {"objective": objective, "num_samples": 5}
        text = json.loads(to_json(architecture, Training(**fields)))
        text["training"]["beta"] = written
        del text["training"]["groups"]
        training = from_json(json.dumps(text)).training
        assert training.chosen("beta") == meant and training.groups == 1
    text["training"] |= {"groups": 1, "objective": "iwae", "beta": 1.0}
    with pytest.raises(InputError, match="at least 0 and below 1"):
        from_json(json.dumps(text))
