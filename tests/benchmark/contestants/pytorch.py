"""PyTorch, eager or compiled; channels last, with the fused Adam, the faster of its modes."""

import math

import numpy as np

from benchmark.cases import BASE, BASE_CHANNELS, Case, Work


def prepare(case: Case, images: np.ndarray, *, compiled: bool = False) -> Work | None:
    """Return what trains on a number of examples; None for what is not compared."""
    if case.task != "train" or case.posterior != "diagonal":
        return None
    import torch
    from torch import nn

    first, second = case.filters
    encoder = nn.Sequential(
        nn.Conv2d(1, first, 3, 2),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * 36, case.params_size),
    )
    decoder = nn.Sequential(
        nn.Linear(case.latent, BASE * BASE * BASE_CHANNELS),
        nn.ReLU(),
        nn.Unflatten(1, (BASE_CHANNELS, BASE, BASE)),
        nn.ConvTranspose2d(BASE_CHANNELS, second, 3, 2, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(second, first, 3, 2, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(first, 1, 3, 1, 1),
    )
    model = nn.ModuleList([encoder, decoder]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)

    def log_normal(z, mean, log_variance):  # type: ignore[no-untyped-def]
        terms = (z - mean) ** 2 * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi)
        return -0.5 * terms.sum(-1)

    def loss_of(x):  # type: ignore[no-untyped-def]
        mean, log_variance = encoder(x).chunk(2, 1)
        z = mean + torch.randn(case.samples, *mean.shape) * torch.exp(0.5 * log_variance)
        logits = decoder(z.flatten(0, 1)).unflatten(0, (case.samples, len(x)))
        entropy = nn.functional.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        )
        zero = torch.zeros(())
        log_w = -entropy.sum((2, 3, 4)) + log_normal(z, zero, zero) - log_normal(z, mean, log_variance)
        return -(torch.logsumexp(log_w, 0) - math.log(case.samples)).mean()

    function = torch.compile(loss_of) if compiled else loss_of
    x = torch.from_numpy(images.astype(np.float32).transpose(0, 3, 1, 2))

    def train(examples: int) -> None:
        order = torch.randperm(len(x))
        for start in range(0, examples, case.batch):
            place = start % (len(x) - case.batch + 1)
            optimizer.zero_grad(set_to_none=True)
            loss = function(x[order[place : place + case.batch]])
            loss.backward()
            optimizer.step()

    return train
