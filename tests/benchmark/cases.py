"""What is timed, and how much arithmetic it is. No TensorFlow here."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

HEIGHT = WIDTH = 28
BASE = 7  # side of the decoder's smallest image
BASE_CHANNELS = 32
KERNEL = 9  # weights of a 3x3 convolution, a pair of channels
MATRIX = 2048  # rows and columns of the matrices whose product shows the machine's rate

Work = Callable[[Any], Any]  # does a task for a number of examples; it may return seconds of its own
NOT_COMPARED = "it has no such thing"
STARTS = ("import", "first step")  # tasks that start processes
IN_SECONDS = (*STARTS, "reach")  # tasks that are done as a whole, in place of examples
TARGET = -156.8  # nats: the test ELBO of MNIST that the tutorial's loop has after ten epochs
TEST = 10_000  # images at the end of those that contestants are given, for the test ELBO


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
      task: "train", or what is done with a model: "iwae" (the bound with `samples` draws), "exact" (log p(x)
        by quadrature), "encode", "sample"; "reach", which trains until the test ELBO is `TARGET`; or a new
        Python process: its imports ("import"), or from there to the end of the first training step ("first
        step").
      batch: examples a step.
      filters: of the two convolutions.
      latent: L.
      posterior: "diagonal" or "tril".
      samples: K; 1 is the ELBO.
    """

    task: str = "train"
    batch: int = 32
    filters: tuple[int, int] = (32, 64)
    latent: int = 2
    posterior: str = "diagonal"
    samples: int = 1

    @property
    def name(self) -> str:
        """What the table calls it."""
        task = f"reach an ELBO of {TARGET}" if self.task == "reach" else self.task
        parts = [task] if task == "import" else [task, f"batch {self.batch}"]
        default = Case()
        if self.filters != default.filters:
            parts.append("filters " + "/".join(map(str, self.filters)))
        if self.latent != default.latent:
            parts.append(f"L = {self.latent}")
        if self.posterior != default.posterior:
            parts.append(self.posterior)
        if self.samples > 1:
            parts.append(f"K = {self.samples}")
        return ", ".join(parts)

    @property
    def params_size(self) -> int:
        """Parameters of q(z|x): a mean, and a log-variance or a triangle."""
        extra = self.latent if self.posterior == "diagonal" else self.latent * (self.latent + 1) // 2
        return self.latent + extra

    @property
    def encoder_flops(self) -> int:
        """Of the encoder, forward, an example: two a multiplication and addition."""
        return sum(self._encoder())

    @property
    def decoder_flops(self) -> int:
        """Of the decoder, forward, one z."""
        return sum(self._decoder())

    def _encoder(self) -> list[int]:
        first, second = self.filters
        side_1 = (HEIGHT - 3) // 2 + 1
        side_2 = (side_1 - 3) // 2 + 1
        return [
            2 * side_1**2 * KERNEL * first,
            2 * side_2**2 * KERNEL * first * second,
            2 * side_2**2 * second * self.params_size,
        ]

    def _decoder(self) -> list[int]:
        first, second = self.filters
        return [
            2 * self.latent * BASE**2 * BASE_CHANNELS,
            2 * BASE**2 * KERNEL * BASE_CHANNELS * second,
            2 * (2 * BASE) ** 2 * KERNEL * second * first,
            2 * HEIGHT * WIDTH * KERNEL * first,
        ]

    @property
    def flops(self) -> float:
        """Of matrix products and convolutions, an example: what the task cannot do without."""
        if self.task == "train":  # forward, gradient of the weights, gradient of the inputs but for x's
            return 3 * (self.encoder_flops + self.samples * self.decoder_flops) - self._encoder()[0]
        if self.task == "encode":
            return self.encoder_flops
        if self.task == "sample":
            return self.decoder_flops
        if self.task == "iwae":
            return self.encoder_flops + self.samples * self.decoder_flops
        return math.nan  # exact, where the decoder is paid once for all examples; `IN_SECONDS`


FULL = (
    Case(),
    Case(batch=128),
    Case(batch=512),
    Case(filters=(128, 256)),
    Case(filters=(512, 512)),
    Case(latent=50),
    Case(latent=50, posterior="tril"),
    Case(samples=5),
    Case(samples=50),
    Case(task="iwae", batch=100, samples=500),
    Case(task="exact", batch=10_000),
    Case(task="encode", batch=500),
    Case(task="sample", batch=500),
    Case(task="import"),
    Case(task="first step"),
    Case(task="reach"),
)
QUICK = (Case(), Case(batch=128))
