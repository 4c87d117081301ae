"""Workshops: what of a training is compiled, for one training or for many in turn."""

import numpy as np
import tensorflow as tf

from probvae.config.choices import OBJECTIVES
from probvae.config.training import Training
from probvae.data.arrays import Array
from probvae.data.binarization import Feed, Prepared
from probvae.models.vae import VAE
from probvae.seeds import Seed
from probvae.training.feeding import Form
from probvae.training.objective import in_parts, known_fraction, make_objective
from probvae.training.optimizer import averages, has_constant_rate, make_optimizer, variables_of
from probvae.training.scoring import TestTerms, compile_shared_test
from probvae.training.state import assign
from probvae.training.steps import Steps, compile_shared_steps


class Workshop:
    """A model, its optimizer, and the compiled functions of data and a seed that train and test it.

    Functions are compiled when they are first called, and kept. It serves one training at a time, on the
    strategy that it was made on.

    Args:
      vae: Model.
      training: Settings; those that no graph holds may differ in later trainings, see `shared.Plan`.
      feed: Function from a batch to x, that of the data.
      form: Form of the training set.
      num_examples: Number of training examples.
      labelled: Fraction of known labels, for `labels="semi"`.
    """

    def __init__(
        self,
        vae: VAE,
        training: Training,
        feed: Feed,
        form: Form,
        *,
        num_examples: int,
        labelled: float | None = None,
    ) -> None:
        self.vae = vae
        strategy = tf.distribute.get_strategy()
        with strategy.scope():
            self.optimizer = make_optimizer(training, num_examples, vae.trainable_variables)
        self.whole_objective = make_objective(
            training, num_examples=num_examples, iterations=self.optimizer.iterations, labelled=labelled
        )
        self.objective = in_parts(self.whole_objective, training.parts)
        self._steps = compile_shared_steps(
            vae,
            self.optimizer,
            self.objective,
            feed,
            form,
            clip_norm=training.clip_norm,
            skip=training.on_nonfinite == "skip",
            strategy=strategy,
        )
        self._test = compile_shared_test(vae, parts=training.parts)
        self._first: list[np.ndarray] = []  # values of the optimizer's variables before any step

    @classmethod
    def of(cls, vae: VAE, data: Prepared, training: Training) -> "Workshop":
        """Return the workshop of one training."""
        labelled = known_fraction(vae, data.train) if training.is_semisupervised else None
        form, number = Form.of(data.train), len(data.train)
        return cls(vae, training, data.feed, form, num_examples=number, labelled=labelled)

    def steps(self, data: Prepared, seed: Seed) -> Steps:
        """Return the steps of a training, see `compile_steps`."""
        return self._steps(data, seed)

    def test(self, x: Array, seed: Seed) -> TestTerms:
        """Return the terms of the ELBO of x [N, *E], see `compile_test`."""
        return self._test(x, seed=seed)

    def start(self, weights: list[np.ndarray], training: Training) -> None:
        """Make the model and the optimizer what they were before a first step.

        Args:
          weights: Weights to start with, in the order of `vae.variables`.
          training: Settings of the training to come.
        """
        if not self._first:
            self._first = [variable.numpy() for variable in variables_of(self.optimizer)]
        assign(self.vae.variables, weights)
        assign(variables_of(self.optimizer), self._first)
        for average, variable in zip(averages(self.optimizer), self.vae.trainable_variables, strict=False):
            average.assign(variable)
        if has_constant_rate(training):
            self.optimizer.learning_rate = training.learning_rate


def depends_on_number(training: Training) -> bool:
    """Return whether steps depend on the number of training examples."""
    return OBJECTIVES[training.objective].num_examples or not has_constant_rate(training)
