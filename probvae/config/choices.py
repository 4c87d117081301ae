"""The choices that a configuration may name, and the recipes of training."""

from typing import Any

# The names that each choice may take; a test holds them equal to the registries.
CHOICES: dict[str, tuple[str, ...]] = {
    "posterior": ("diagonal", "tril", "low_rank", "mixture", "iaf", "spline", "von_mises_fisher"),
    "prior": ("standard_normal", "mixture", "vamp", "realnvp", "maf", "spline", "uniform_sphere"),
    "likelihood": (
        "bernoulli",
        "continuous_bernoulli",
        "normal_fixed",
        "normal_shared",
        "normal",
        "discretized_logistic",
        "logistic_mixture",
        "poisson",
        "negative_binomial",
        "categorical",
        "mixed",
    ),
    "network": ("conv", "residual_conv", "conv1d", "mlp", "gated_mlp"),
    "activation": ("relu", "elu", "gelu", "swish", "tanh"),
    "objective": ("elbo", "iwae", "stl", "dreg", "renyi", "chi", "free_bits", "beta_tc", "mmd"),
    "binarize": ("threshold", "static", "dynamic", "none"),
    "kind": ("auto", "image", "series", "vector"),
    "crop": ("center", "none", "pad"),
    "color": ("auto", "rgb", "grey"),
    "labels": ("none", "condition", "semi"),
    "beta_warmup": ("none", "linear", "cyclic", "cosine"),
    "schedule": ("constant", "cosine", "linear", "exponential"),
    "on_nonfinite": ("stop", "skip"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}


# What an objective with one draw of z is; objectives that look at a batch as a whole; whose an option is.
ONE_DRAW = {"iwae": "elbo", "dreg": "stl", "renyi": "elbo", "chi": "stl"}
WHOLE_BATCH = ("free_bits", "beta_tc", "mmd")
_WEIGHED = ("elbo", "stl", "free_bits", "beta_tc", "mmd")
OBJECTIVES_OF = {
    "analytic_kl": ("elbo", "free_bits"),
    "beta": _WEIGHED,
    "beta_warmup": _WEIGHED,
    "alpha": ("renyi",),
    "free_bits": ("free_bits",),
    "mmd_weight": ("mmd",),
}


# What a recipe changes from the defaults of `Training`.
RECIPES: dict[str, dict[str, Any]] = {
    "tutorial": {},
    "tuned": {"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 500},
}
