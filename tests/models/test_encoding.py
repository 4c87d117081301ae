import numpy as np
import pytest
from conftest import tiny_vae
from tensorflow_probability import distributions as tfd

import probvae
from probvae.models import encoding
from probvae.seeds import fold_in


class WithoutMean(tfd.Independent):
    def _mean(self, **kwargs):
        raise NotImplementedError


class Opaque(probvae.VAE):
    """A model whose q(z|x) knows no mean."""

    def posterior(self, x, training=False):
        q = super().posterior(x, training)
        return WithoutMean(tfd.Normal(q.mean(), q.stddev()), 1)


def test_codes_are_means_and_draws_block_by_block(vae, x, monkeypatch):
    x = x.numpy()
    monkeypatch.setattr(encoding, "BLOCK", 2)
    codes = encoding.encode(vae, x, 3)
    np.testing.assert_allclose(codes.loc, vae.posterior(x).mean(), rtol=1e-5, atol=1e-6)
    second = vae.posterior(x[2:4]).sample(seed=fold_in(3, 2))
    np.testing.assert_allclose(codes.draws[2:4], second, rtol=1e-5, atol=1e-6)
    assert codes.exact and codes.draws.shape == codes.loc.shape == (5, 2)
    np.testing.assert_allclose(codes.variance, np.var(codes.loc, axis=0, ddof=1), rtol=1e-5)
    assert encoding.encode(vae, x[:1]).variance is None


def test_codes_are_draws_where_there_is_no_mean(x):
    vae = tiny_vae()
    vae = Opaque(vae.prior, vae.encoder, vae.decoder)
    with pytest.raises(NotImplementedError):
        vae.posterior(x).mean()
    codes = encoding.encode(vae, x.numpy(), 3)
    assert not codes.exact and codes.variance is None
    np.testing.assert_array_equal(codes.loc, codes.draws)
