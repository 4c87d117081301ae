"""The latent explorer: its numbers are TensorFlow's, in NumPy and in a browser; its page; its command."""

import base64
import json
import re
import time

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from explorer_plans import array, carry_out
from PIL import Image

import probvae
from probvae.cli.explore import main
from probvae.config.architecture import Architecture
from probvae.config.choices import CHOICES
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.export.web import content as contents
from probvae.export.web import plan
from probvae.export.web.page import to_html
from probvae.likelihoods import likelihood_of
from probvae.models.building import build

SMALL = {"filters": (3, 4), "units": (8, 5)}
CASES = {
    "tutorial": {"event_shape": (28, 28, 1)},
    "colour": {
        **{
            "event_shape": (9, 10, 3),
            "network": "residual_conv",
            "likelihood": "normal",
            "posterior": "tril",
        },
        **{"activation": "swish", "latent_dim": 3, **SMALL},
    },
    "mlp": {
        **{"event_shape": (6, 7, 1), "network": "mlp", "likelihood": "continuous_bernoulli", **SMALL},
        **{"activation": "gelu", "posterior": "low_rank", "latent_dim": 6},
    },
    "gated": {
        **{"event_shape": (6, 7, 1), "network": "gated_mlp", "likelihood": "negative_binomial", **SMALL},
        **{"posterior": "mixture", "latent_dim": 1},
    },
    "counts": {"event_shape": (15, 17, 1), "likelihood": "poisson", "activation": "elu", **SMALL},
    "levels": {
        **{"event_shape": (8, 8, 3), "likelihood": "categorical", "classes": 5, "activation": "tanh"},
        **{"filters": (3, 4)},
    },
    "deep": {
        "event_shape": (21, 16, 1),
        "filters": (3, 4, 5),
        "likelihood": "normal_shared",
        "latent_dim": 3,
    },
    "classes": {"event_shape": (9, 9, 1), "context_dim": 3, "likelihood": "normal_fixed", **SMALL},
    "few labels": {"event_shape": (9, 9, 1), "context_dim": 3, "classifier": True, **SMALL},
    "flat classes": {"event_shape": (5, 5, 1), "context_dim": 3, "network": "mlp", **SMALL},
}
Y = np.array([2, 0, 1, 1])


def model(case):
    """An untrained model whose weights and biases are all large enough to matter."""
    vae = build(Architecture(**CASES[case]), seed=1)
    rng = np.random.default_rng(0)
    for variable in vae.trainable_variables:
        variable.assign(1.3 * variable + 0.1 * rng.standard_normal(variable.shape))
    return vae


def images(case, n=4):
    a, rng = Architecture(**CASES[case]), np.random.default_rng(3)
    if likelihood_of(a).kind.whole:
        return rng.integers(0, a.classes if a.likelihood == "categorical" else 200, [n, *a.event_shape])
    return (
        rng.integers(0, 2, [n, *a.event_shape])
        if a.likelihood == "bernoulli"
        else rng.random([n, *a.event_shape])
    )


@pytest.fixture(scope="module")
def explored():
    """Return for a case its content, z, and TensorFlow's q(z|x) of `images` and mean of p(x|z) at z."""
    done = {}

    def explore(case):
        if case not in done:
            vae, x = model(case), images(case).astype(np.float32)
            with pytest.MonkeyPatch.context() as patch:
                how = {"name": "log p(x)", "method": "none", "note": ""}
                patch.setattr(
                    contents, "_log_prob", lambda *args: (np.array([-3.0, -np.inf, -5.0, -9.0]), how)
                )
                content = contents.describe(vae, x, Y, title="tiny", data="made up")
            z = np.random.default_rng(5).standard_normal([4, vae.latent_dim]).astype(np.float32)
            if vae.architecture.context_dim:
                q, p = vae.posterior(vae.join(x, Y)), vae.decoder(np.concatenate([z, np.eye(3)[Y]], 1))
            else:
                q, p = vae.posterior(x), vae.likelihood(z)
            done[case] = json.loads(json.dumps(content)), z, q, p.mean().numpy()
        return done[case]

    return explore


# ---- without a browser -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_plans_compute_the_parameters(case, explored):
    content, z, _, _ = explored(case)
    vae, x, weights = model(case), images(case).astype(np.float32), array(content["weights"])
    one_hot = np.eye(3)[Y] if content["classes_y"] else np.zeros([4, 0])
    joined = vae.join(x, Y) if content["classes_y"] else x
    expected = vae.encoder_parts.network(joined).numpy()
    found = np.array([carry_out(content["encoder"], weights, *pair) for pair in zip(x, one_hot, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    inputs = np.concatenate([z, one_hot], axis=1)
    expected = vae._folded_decoder.split.network(inputs).numpy()
    found = np.array([carry_out(content["decoder"], weights, row) for row in inputs])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert found.std() > 0.05  # there is something to get wrong


def flipped(content):
    """The same content with the first transposed convolution's kernel turned by 180 degrees."""
    o = next(o for o in content["decoder"] if o["op"] == "deconv")
    weights = array(content["weights"]).copy()
    shape = o["size"], o["size"], o["channels"] * o["filters"]
    kernel = weights[o["kernel"] : o["kernel"] + np.prod(shape)]
    kernel[:] = kernel.reshape(shape)[::-1, ::-1].reshape(-1)
    return {**content, "weights": contents._base64(weights.tobytes())}


def test_a_flipped_kernel_is_seen(explored):
    content, z, _, _ = explored("tutorial")
    right = carry_out(content["decoder"], array(content["weights"]), z[0])
    wrong = carry_out(content["decoder"], array(flipped(content)["weights"]), z[0])
    assert np.abs(right - wrong).max() > 0.01


def test_images_are_stored_without_loss(explored):
    for case in ("tutorial", "colour", "counts", "levels"):
        points, x = explored(case)[0]["points"], images(case).astype(np.float32)
        stored = array(points["images"], {"uint8": np.uint8, "float32": "<f4"}[points["type"]])
        assert np.array_equal(stored.astype(np.float32) / np.float32(points["by"]), x.reshape(-1))
    eight_bit = np.random.default_rng(0).integers(0, 256, [3, 4, 4, 1]).astype(np.float32) / np.float32(255)
    assert contents._images(eight_bit)["type"] == "uint8"


def test_every_choice_is_served_or_refused():
    networks = {"conv", "residual_conv", "mlp", "gated_mlp"}
    assert set(plan.ACTIVATIONS) >= set(CHOICES["activation"])
    assert (
        {case.get("network", "conv") for case in CASES.values()}
        == networks
        == set(CHOICES["network"]) - {"conv1d"}
    )
    refusals = {
        "likelihood": {"discretized_logistic", "logistic_mixture", "mixed"},
        "posterior": {"iaf", "spline", "von_mises_fisher"},
    }
    for what, served in (("likelihood", contents.LIKELIHOOD_NAMES), ("posterior", contents.POSTERIOR_NAMES)):
        assert set(served) | refusals[what] == set(CHOICES[what])
        name = {"likelihood": "bernoulli", "posterior": "diagonal"}[what]
        tried = {case.get(what, name) for case in CASES.values()}
        assert tried == set(served)


REFUSED = {
    "series": ({"event_shape": (12, 2), "network": "conv1d", "likelihood": "normal"}, "shape [12, 2]"),
    "two channels": ({"event_shape": (8, 8, 2)}, "one or three channels"),
    "flow": ({"posterior": "iaf"}, "the posterior iaf"),
    "mixture": ({"likelihood": "logistic_mixture"}, "the likelihood logistic_mixture"),
    "hierarchy": ({"latent_dim": 3, "latent_layers": (1, 2)}, "a hierarchy"),
    "missing": ({"missing": True}, "missing values"),
    "many": ({"latent_dim": 200}, "up to 128 dimensions"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_browser_cannot_compute_is_refused(case):
    fields, message = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(message)):
        contents.refuse_unless_served(Architecture(**fields))


def test_a_model_too_large_for_a_page_is_refused(monkeypatch):
    vae = model("mlp")
    for limit in ("MAX_WEIGHTS", "MAX_PRODUCTS"):
        with monkeypatch.context() as patch:
            patch.setattr(plan, limit, 99)
            with pytest.raises(InputError, match="explore a smaller"):
                contents.plans(vae, vae.architecture, plan.Weights())
    vae.decoder.layers[0].kernel.assign(np.nan * vae.decoder.layers[0].kernel)
    with pytest.raises(InputError, match="not all finite"):
        contents.plans(vae, vae.architecture, plan.Weights())


def test_more_images_than_a_page_holds_are_refused(monkeypatch):
    monkeypatch.setattr(contents, "MAX_VALUES", 100)
    with pytest.raises(InputError, match="up to 2 images of this size; got 4"):
        contents.describe(model("mlp"), images("mlp"), None, title="", data="")


def test_log_prob_is_exact_or_a_bound():
    x = tf.constant(images("flat classes"), tf.float32)
    vae = build(Architecture(**CASES["flat classes"] | {"latent_dim": 1}), seed=1)
    joined = vae.join(x, 1).numpy()
    exact, how = contents._log_prob(vae, joined, "auto", num_samples=50)
    bound, note = contents._log_prob(vae, joined, "iwae", num_samples=500, seed=0)
    assert how["method"] == "exact" and how["name"] == "log p(x|y)" and note["method"] == "iwae"
    assert "500 draws" in note["note"] and "bound" in note["name"]
    np.testing.assert_allclose(bound, exact, atol=1)
    assert np.ptp(exact) > 1 or np.abs(exact).min() > 5


HOSTILE = "</script><script>alert(1)</script>\u2028&\"'{{script}}"


def test_names_cannot_end_the_data(explored):
    content = {**explored("mlp")[0], "title": HOSTILE, "data": HOSTILE, "label_names": [HOSTILE] * 3}
    page = to_html(content)
    assert page.count("<script") == 2 == page.count("</script>")
    held = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(held)["title"] == HOSTILE
    assert "<title>&lt;/script&gt;" in page


def test_a_page_names_no_address(explored):
    page = to_html(explored("mlp")[0])
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(|XMLHttp|import\(", page)
    assert "default-src &#x27;none&#x27;" in page and "unsafe" not in page


# ---- the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of an untrained model."""
    folder = tmp_path_factory.mktemp("explore")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, [30, 8, 8]).astype(np.uint8) * 255
    np.savez(folder / "x.npz", x_train=x, x_test=x[:9], y_train=np.arange(30) % 3, y_test=np.arange(9) % 3)
    vae = build(Architecture(event_shape=(8, 8, 1), filters=(3, 4)), seed=1)
    probvae.save(vae, folder / "run", Training(data=str(folder / "x.npz")))
    return folder / "run"


def explore(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_command_writes_a_page(run, tmp_path):
    done = explore(run, "--points", 5, "--output", tmp_path / "a.html")
    assert done.exit_code == 0, done.output
    assert "5 test images of" in done.stdout and "log p(x)" in done.stdout and "MB" in done.stdout
    page = (tmp_path / "a.html").read_text()
    content = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])
    assert content["points"]["number"] == 5 and content["data"] == "x.npz" and content["title"] == "run"
    assert content["threshold"] and content["log_prob"]["method"] == "exact"
    assert str(run.parent) not in page  # a page that is passed on tells no paths
    x = np.load(run.parent / "x.npz")["x_test"][:5, :, :, None] > 127
    expected = probvae.load(run).marginal(method="exact").log_prob(x.astype(np.float32))
    np.testing.assert_allclose(content["points"]["log_prob"], expected, atol=0.05)
    again = explore(run, "--points", 3, "--output", tmp_path / "a.html")
    assert (
        again.exit_code == 2 and "--overwrite" in again.stderr and (tmp_path / "a.html").read_text() == page
    )
    replaced = explore(
        run,
        *("--points", 3, "--log-prob", "iwae", "--num-samples", 3, "--overwrite", "--quiet"),
        "--output",
        tmp_path / "a.html",
    )
    assert replaced.exit_code == 0 and len(replaced.stdout.splitlines()) == 1, replaced.output
    assert (tmp_path / "a.html").read_text() != page


BAD = {
    "no run": (["absent"], "There is no run folder"),
    "a folder": (["RUN", "--output", "TMP"], "is a folder"),
    "no page": (["RUN", "--output", "TMP/a.png"], "ending in .html"),
    "no such folder": (["RUN", "--output", "TMP/b/a.html"], "There is no folder"),
    "other shape": (["RUN", "--data", "digits", "--output", "TMP/a.html"], "shape [8, 8, 1]"),
    "points": (["RUN", "--points", "0"], "0 is not in the range"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, run, tmp_path):
    arguments, message = BAD[case]
    done = explore(*(a.replace("RUN", str(run)).replace("TMP", str(tmp_path)) for a in arguments))
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1, done.output
    assert message in done.stderr and not list(tmp_path.iterdir()) and "Traceback" not in done.output


# ---- in a browser ----------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, tmp_path, explored):
    """Open the page of a content; `page.requests` and `page.errors` are lists."""
    pages = []

    def open_page(content):
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(to_html(content), encoding="utf-8")
        page = browser.new_page()
        pages.append(page)
        page.requests, page.errors = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda message: page.errors.append(message.text))
        page.goto(path.as_uri())
        wait(page, "window.explorer")
        return page

    yield open_page
    for page in pages:
        page.close()


def wait(page, expression):
    """Wait until an expression holds; the page's policy allows no eval, which Playwright's own waiting is."""
    deadline = time.monotonic() + 20
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < deadline, expression
        time.sleep(0.02)


def call(page, method, values, y=0):
    """Call the page's decoder or encoder; y is a class."""
    script = f"([v, y]) => {{ const out = explorer.model.{method}(Float32Array.from(v), y);"
    script += "return out.mean ? [Array.from(out.mean), Array.from(out.covariance)] : Array.from(out); }"
    return page.evaluate(script, [np.asarray(values, float).reshape(-1).tolist(), int(y)])


@pytest.mark.parametrize("case", CASES)
def test_a_browser_computes_what_tensorflow_does(case, explored, opened):
    content, z, q, mean = explored(case)
    page, x = opened(content), images(case)
    decoded = np.array([call(page, "decode", *pair) for pair in zip(z, Y, strict=True)])
    np.testing.assert_allclose(decoded, mean.reshape(4, -1), rtol=1e-4, atol=1e-4)
    assert decoded.std() > 0.01
    for k in range(4):
        found_mean, covariance = call(page, "encode", x[k], Y[k])
        np.testing.assert_allclose(found_mean, q.mean().numpy()[k], rtol=1e-4, atol=1e-4)
        expected = q.covariance().numpy()[k].reshape(-1)
        np.testing.assert_allclose(covariance, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert page.evaluate("explorer.check.right") and not page.errors


def test_a_flipped_kernel_is_caught_by_the_page(explored, opened):
    content, z, _, mean = explored("tutorial")
    page = opened(flipped(content))
    assert np.abs(np.array(call(page, "decode", z[0])) - mean[0].reshape(-1)).max() > 0.01
    assert not page.evaluate("explorer.check.right")
    assert "Do not trust this page" in page.inner_text("#self-check")


def z_of(page):
    page.evaluate("new Promise(requestAnimationFrame)")
    return np.array(page.evaluate("Array.from(explorer.state.z)"))


def test_nothing_is_fetched_and_keys_pointer_and_sliders_move_z(explored, opened):
    page = opened(explored("tutorial")[0])
    assert len(page.requests) == 1 and page.requests[0].startswith("file:")
    assert np.array_equal(z_of(page), [0, 0])
    page.focus("#plane")
    before = page.evaluate("document.getElementById('decoded').toDataURL()")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    np.testing.assert_allclose(z_of(page), [-0.3, 0.1], atol=1e-6)
    assert page.evaluate("document.getElementById('decoded').toDataURL()") != before
    label = page.get_attribute("#decoded", "aria-label")
    assert "z₁ = −0.30, z₂ = 0.10" in label
    wait(page, "document.getElementById('live').textContent.includes('z₁ = −0.30')")
    page.keyboard.press("Home")
    assert np.array_equal(z_of(page), [0, 0])
    page.keyboard.press("n")
    np.testing.assert_allclose(z_of(page), explored("tutorial")[0]["points"]["mean"][1], atol=1e-5)
    assert page.inner_text("#point-heading") == "Test image 2 of 4"
    assert "not finite" in page.inner_text("#facts") and "class" in page.inner_text("#facts")
    page.keyboard.press("Escape")
    box = page.locator("#plane").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    assert z_of(page)[1] > 1.4
    x, y = page.evaluate("explorer.plane.placePoint(2)")
    page.mouse.move(box["x"] + x + 1, box["y"] + y + 1)
    assert page.inner_text("#point-heading") == "Test image 3 of 4"
    page.focus("#z-0")
    held = z_of(page)[0]
    page.keyboard.press("ArrowRight")
    assert 0.001 < z_of(page)[0] - held < 0.02
    page.check("#tiles")
    wait(page, "explorer.plane.tiles")
    assert not page.errors and len(page.requests) == 1


def test_touch_moves_z_and_a_phone_is_wide_enough(browser, explored, opened):
    page = opened(explored("colour")[0])
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#plane").bounding_box()
    session = browser.new_cdp_session(page)
    at = {"x": box["x"] + 0.75 * box["width"], "y": box["y"] + 0.25 * box["height"]}
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    z = z_of(page)
    assert z[0] > 0.3 and z[1] > 0.3 and z[2] == 0
    page.select_option("#axis-1", "2")
    page.focus("#plane")
    page.keyboard.press("ArrowDown")
    assert z_of(page)[2] == pytest.approx(-0.1)
    assert not page.errors


def test_an_image_of_ones_own_lands_where_the_encoder_puts_it(explored, opened, tmp_path):
    content, vae = explored("tutorial")[0], model("tutorial")
    page = opened({**content, "threshold": True})
    x = np.zeros([28, 28], np.uint8)
    x[5:20, 10:14] = 200
    Image.fromarray(x).save(tmp_path / "own.png")
    page.set_input_files("#file", tmp_path / "own.png")
    wait(page, "explorer.state.own")
    expected = vae.posterior((x > 127).astype(np.float32)[None, :, :, None]).mean().numpy()[0]
    np.testing.assert_allclose(z_of(page), expected, atol=1e-4)
    large = Image.fromarray(255 - x).resize((280, 280), Image.Resampling.NEAREST)  # dark on light, and large
    large.save(tmp_path / "large.png")
    page.click("#clear")
    page.set_input_files("#file", tmp_path / "large.png")
    wait(page, "explorer.state.own")
    turned = page.is_checked("#invert")
    assert turned == (page.evaluate("blank") == 0)
    page.click("#clear")
    drop = """(data) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), moved = new DataTransfer();
      moved.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
      const how = { dataTransfer: moved, bubbles: true, cancelable: true };
      document.body.dispatchEvent(new DragEvent("drop", how));
    }"""
    page.evaluate(drop, base64.b64encode((tmp_path / "own.png").read_bytes()).decode())
    wait(page, "explorer.state.own")
    np.testing.assert_allclose(z_of(page), expected, atol=1e-4)
    page.click("#clear")
    pad = page.locator("#pad").bounding_box()
    page.mouse.move(pad["x"] + 20, pad["y"] + 40)
    page.mouse.down()
    page.mouse.move(pad["x"] + 80, pad["y"] + 60, steps=5)
    page.mouse.up()
    drawn = page.evaluate("Array.from(explorer.state.own.source)")
    assert 20 < np.sum(np.abs(np.array(drawn) - drawn[0]) > 0.5) < 200
    (tmp_path / "no.png").write_bytes(b"no image")
    page.set_input_files("#file", tmp_path / "no.png")
    wait(page, "document.getElementById('own-note').textContent.includes('could not be read')")
    assert not page.errors


def test_controls_have_names(explored, opened):
    page = opened(explored("classes")[0])
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role]")].filter((e) => !(
          e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.closest("label") ||
          e.textContent.trim()) && e.id !== "live").map((e) => e.outerHTML)"""
    )
    assert nameless == []
    page.select_option("#class", "2")
    assert page.evaluate("explorer.state.y") == 2 and not page.errors
