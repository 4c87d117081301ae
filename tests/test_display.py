"""What a user in a notebook meets: how objects show themselves, opened runs, figures in other styles."""

import inspect
import shlex
import shutil
from html.parser import HTMLParser

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from conftest import shared_vae
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from tensorflow_probability import distributions as tfd

import probvae
from probvae import display, figures, priors
from probvae.cli import evaluate, train
from probvae.config.architecture import Architecture
from probvae.config.choices import CHOICES
from probvae.config.training import Training
from probvae.distributions import base, chain, columns, mixtures, sphere, values
from probvae.distributions.flows import flow, steps
from probvae.errors import InputError
from probvae.figures import curves, panels, posterior, theme
from probvae.inference import marginal
from probvae.models import conditional, saving

MODULES = (conditional, values, flow, steps, base, chain, mixtures, priors, sphere, columns, marginal)


class Cells(HTMLParser):
    """Collects the text of a page, and the tags that it is not supposed to have."""

    def __init__(self):
        super().__init__()
        self.text, self.tags = "", set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data + "\n"


def page(thing):
    cells = Cells()
    cells.feed(thing._repr_html_())
    assert cells.tags <= {"div", "strong", "table", "tbody", "tr", "th", "td", "code"}
    return cells.text


# ---- how objects show themselves -------------------------------------------------------------------


def test_a_model_says_what_it_is_made_of():
    vae = shared_vae(prior="mixture", latent_dim=3)
    text = repr(vae)
    for part in (
        "MultivariateNormalDiag (diagonal)",
        "NormalMixture (mixture)",
        "Independent Bernoulli (bernoulli)",
        "latent_dim   3",
        "(8, 8, 1)",
        f"{sum(int(tf.size(v)) for v in vae.trainable_variables):,}",
    ):
        assert part in text and part.split("  ")[-1].strip() in page(vae)
    assert len(text.splitlines()) <= 10
    assert str(vae) == text


def test_a_model_of_ones_own_networks_says_what_it_can():
    vae = shared_vae("iaf")
    own = probvae.VAE(vae.prior, vae.encoder, vae.decoder)
    assert "posterior    Flow\n" in repr(own) and "network" not in repr(own)


@pytest.mark.parametrize("choices", [{"context_dim": 3}, {"context_dim": 3, "classifier": True}])
def test_conditional_models_show_both_shapes(choices):
    text = repr(shared_vae(**choices))
    assert "(67,)" in text and "(8, 8, 1)" in text and "context_dim  3" in text


def own_distributions():
    """Every class of a distribution that probvae defines."""
    for module in MODULES:
        for name, cls in vars(module).items():
            if (
                inspect.isclass(cls)
                and issubclass(cls, tfd.Distribution)
                and cls.__module__ == module.__name__
            ):
                yield pytest.param(cls, id=name)


@pytest.mark.parametrize("cls", list(own_distributions()))
def test_every_distribution_of_ours_shows_itself(cls):
    assert issubclass(cls, display.ReprMixin) and cls.__repr__ is display.ReprMixin.__repr__


@pytest.mark.parametrize(
    ("prior", "posterior", "detail"),
    [
        ("vamp", "diagonal", "pseudo_inputs=100"),
        ("realnvp", "iaf", "variables="),
        ("mixture", "tril", "components="),
    ],
)
def test_distributions_say_what_and_which_shapes(prior, posterior, detail):
    vae = shared_vae(posterior, prior=prior)
    text = repr(vae.prior)
    assert text.startswith("<probvae ") and "event_shape=[2]" in text and "\n" not in text and detail in text
    assert "batch_shape" in page(vae.prior)


def test_html_is_escaped():
    class Prior(flow.FlowPrior):
        """A <script>alert(1)</script> of a prior."""

    prior = Prior(2, [], list)
    assert "<script>" in page(prior)  # as text
    assert "<script>" not in prior._repr_html_()
    training = Training(data="<img src=x onerror=alert(1)>")
    assert "<img" not in training._repr_html_() and "<img" in page(training)


def test_unknown_sizes_are_shown_as_such():
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
    def shown(logits):
        seen.append(repr(values.Bernoulli(logits=logits)))
        return logits

    shown(tf.zeros([3, 2]))
    assert "batch_shape=[?, 2]" in seen[0]


@pytest.mark.parametrize(
    "config",
    [
        Architecture(),
        Architecture((4,), latent_dim=7, network="mlp", units=(5,), likelihood="normal", missing=True),
        Training(),
        Training(data="it's", objective="iwae", num_samples=5, column_kinds=("a=poisson",)),
    ],
)
def test_a_configuration_shows_the_call_that_makes_it(config):
    text = repr(config)
    assert eval(text, {"Architecture": Architecture, "Training": Training}) == config  # our own text
    assert len(text) < 250 and "=" in text
    assert type(config).__name__ in page(config)
    assert set(config.MAIN) <= {*CHOICES, "event_shape", "latent_dim", "data", "batch_size", "epochs"} | {
        "learning_rate",
        "seed",
    }


def test_a_distribution_still_computes_as_before():
    """The mixin changes texts alone: copies, parameters and composite tensors work as TFP's."""
    p = values.Bernoulli(logits=tf.constant([0.5, -1.0]))
    np.testing.assert_allclose(
        p.log_prob([1.0, 0.0]), tfd.Bernoulli([0.5, -1.0]).log_prob([1.0, 0.0]), rtol=1e-6
    )
    again = p.copy(logits=tf.zeros([2]))
    assert isinstance(again, values.Bernoulli) and "probvae Bernoulli" in str(again)


# ---- runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of `probvae-train` on a small table, evaluated."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    np.save(folder / "rows.npy", rng.standard_normal([60, 3]).astype(np.float32))
    options = ["--data", str(folder / "rows.npy"), "--output", str(folder / "run"), "--epochs", "2"]
    options += ["--units", "6,5", "--validation", "0.2", "--parts", "1", "--latent-dim", "4"]
    invoke(train.main, [*options, "--quiet"])
    few = ["--num-samples", "5", "--train-images", "0", "--gap-images", "0", "--ais-images", "0"]
    invoke(evaluate.main, [str(folder / "run"), *few, "--quiet"])
    return folder / "run"


def invoke(command, arguments):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output


def test_an_opened_run_gives_everything_back(run_folder):
    run = probvae.open_run(run_folder)
    assert isinstance(run, probvae.Run) and run.architecture.units == (6, 5) and run.training.epochs == 2
    x = run.prepared.test
    q = [vae.posterior(x).mean().numpy() for vae in (run.model, probvae.load(run_folder))]
    np.testing.assert_array_equal(*q)
    np.testing.assert_array_equal(run.history["epoch"], [1, 2])
    assert np.all(np.isfinite(run.history["validation_elbo"]))
    assert run.metrics["epochs"] == 2 and set(run.versions) >= {"python", "tensorflow", "probvae"}
    assert run.evaluation.per_example["elbo"].shape == (len(x),)
    assert run.data.name == "rows.npy" and len(run.data.test) == len(x)
    assert "learning_curves.png" in run.pictures and all(p.is_file() for p in run.pictures.values())
    drawn = run.learning_curves().axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, run.history["test_elbo"])
    text = repr(run)
    assert "2 of 2" in text and "not ended" not in text and "evaluation    yes" in text
    assert run.command in page(run)


def test_the_command_trains_the_same_anew(run_folder):
    run = probvae.open_run(run_folder)
    name, *arguments = shlex.split(run.command)
    assert name == "probvae-train"
    given = train.main.make_context(name, arguments).params
    given = {key: value for key, value in given.items() if value is not None}
    training = Training(**{f: given[f] for f in Training.__dataclass_fields__ if f in given})
    chosen = {f: given[f] for f in train.ARCHITECTURE if f in given}
    assert training == run.training
    assert Architecture(event_shape=run.architecture.event_shape, **chosen) == run.architecture


def test_a_run_that_has_not_begun(tmp_path):
    saving.save(shared_vae(), tmp_path, Training(data="digits"))
    run = probvae.open_run(tmp_path)
    assert run.history == {} == run.metrics == run.versions and run.evaluation is None and not run.pictures
    assert "0 of 10, not ended" in repr(run)
    with pytest.raises(InputError, match="no epoch yet"):
        run.learning_curves()


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        probvae.open_run(tmp_path)
    probvae.save(shared_vae(), tmp_path)
    with pytest.raises(InputError, match="loaded by probvae"):
        probvae.open_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "part", "sentence"),
    [
        ("history.csv", "epoch,test_elbo\n1,two\n", "history", "must hold numbers"),
        ("history.csv", "epoch,epoch\n1,2\n", "history", "columns with names"),
        ("history.csv", "epoch,test_elbo\n1\n", "history", "of one length"),
        ("history.csv", "", "history", "columns with names"),
        ("metrics.json", "[1]", "metrics", "must hold an object"),
        ("metrics.json", '{"a": NaN}', "metrics", "JSON"),
        ("evaluation/metrics.json", "{", "evaluation", "JSON"),
    ],
)
def test_damaged_files_are_refused_when_they_are_read(tmp_path, name, text, part, sentence):
    saving.save(shared_vae(), tmp_path, Training(data="digits"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    run = probvae.open_run(tmp_path)
    with pytest.raises(InputError, match=sentence):
        getattr(run, part)
    assert repr(run).startswith("<Run")  # to be shown does not fail


def test_other_data_than_the_runs_are_refused(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.json"
    known = probvae.open_run(run_folder).metrics["data"]["fingerprint_sha256"]
    metrics.write_text(metrics.read_text().replace(known, "0" * 64))
    with pytest.raises(InputError, match="other data than the run was trained on"):
        _ = probvae.open_run(tmp_path / "run").data


# ---- figures in other styles -----------------------------------------------------------------------

CURVES = {"Test ELBO": [-3.0, -2.0], "KL": [1.0, 2.0]}
LOC = np.random.default_rng(0).standard_normal([30, 2])
FIGURES = {
    "latent_means": lambda **where: figures.latent_means(LOC, np.arange(30) % 3, **where),
    "latent_manifold": lambda **where: figures.latent_manifold(
        lambda z: np.full([len(z), 4, 4, 1], 0.5), n=4, **where
    ),
    "bound": lambda **where: curves.bound_against_samples(
        np.array([1, 10]), np.array([-3.0, -2.0]), -1.5, **where
    ),
    "gaps": lambda **where: curves.gap_histogram({"gap": np.abs(LOC[:, 0])}, **where),
}
SEVERAL = {
    "learning_curves": lambda **where: figures.learning_curves(CURVES, [1, 2], **where),
    "contours": lambda **where: posterior.posterior_contours(
        shared_vae(), np.zeros([2, 8, 8, 1]), points=20, **where
    ),
}


def words(figure):
    return [w for w in figure.findobj(Text) if w.get_text() and w.get_visible()]


@pytest.mark.parametrize("name", [*FIGURES, *SEVERAL])
def test_a_dark_style_has_light_words(name):
    draw = {**FIGURES, **SEVERAL}[name]
    plain = draw()
    with plt.style.context("dark_background"):
        dark = draw()
    for figure, light in ((plain, False), (dark, True)):
        FigureCanvasAgg(figure).draw()  # after the style has ended
        axes = figure.axes[0]
        assert np.mean(to_rgb(figure.get_facecolor())) == (0 if light else 1)
        shown = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels()]
        for word in (w for w in shown if w.get_text()):
            assert (np.mean(to_rgb(word.get_color())) > 0.5) == light, word
    plt.close("all")


@pytest.mark.parametrize("name", FIGURES)
def test_one_panel_is_drawn_into_given_axes(name):
    figure, (left, right) = plt.subplots(1, 2)
    assert FIGURES[name](ax=right) is figure
    assert right.has_data() and not left.has_data() and len(figure.axes) == 2
    plt.close(figure)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_panels_are_drawn_into_a_given_figure(name):
    figure = plt.figure(layout="constrained", figsize=(9, 6))
    above, below = figure.subfigures(2, 1)
    assert SEVERAL[name](figure=below) is below
    assert len(below.axes) >= 2 and not above.axes
    figure.canvas.draw()
    plt.close(figure)


def test_settings_decide_letters_resolution_and_colours():
    settings = {"font.size": 20, "figure.dpi": 50, "axes.prop_cycle": plt.cycler(color=["#ff0000"])}
    before = figures.learning_curves(CURVES, [1, 2])
    with matplotlib.rc_context(settings):
        after = figures.learning_curves(CURVES, [1, 2])
    label = [f.axes[0].xaxis.label.get_fontsize() for f in (before, after)]
    assert label[1] == 2 * label[0] and (before.dpi, after.dpi) == (theme.DPI, 50)
    assert after.axes[0].lines[0].get_color() == "#ff0000"
    assert before.axes[0].lines[0].get_color() == theme.ACCENT


def test_drawn_grids_follow_a_style():
    with plt.style.context("dark_background"):
        figure = panels.grid(np.zeros([1, 2, 4, 4, 1]), title="t", columns=["a", "b"])
        series = panels.grid(np.zeros([1, 1, 5, 1]))
    assert all(np.mean(to_rgb(word.get_color())) > 0.5 for word in words(figure))
    assert np.mean(to_rgb(series.axes[0].get_facecolor())) == 0
