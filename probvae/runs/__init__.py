"""Runs: training, evaluation, samples and reports in one folder. Reading a run loads no TensorFlow.

>>> from probvae import runs
>>> run = runs.train({"latent_dim": 3}, {"epochs": 5}, data="digits", output="runs/digits")  # doctest: +SKIP
>>> run = runs.resume("runs/digits", epochs=10)  # doctest: +SKIP
>>> runs.evaluate(run, num_samples=1000).results["exact"]["mean"]  # doctest: +SKIP
>>> runs.sample(run, "interpolation").samples.mean  # doctest: +SKIP
>>> runs.report("runs/digits", "runs/other")  # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
