"""A table of mixed columns: numbers and a category in one model, which predicts missing values.

Data: scikit-learn's diabetes table, 442 patients; no network. Run it as
`python docs/examples/mixed_table.py`; with --quick it trains for a moment only.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

import probvae
from probvae.data.from_config import shape_fields
from probvae.training.trainer import fit

quick = "--quick" in sys.argv

# %% [markdown]
# The table is a DataFrame with a column of words, a column of whole numbers, and some blank cells.

# %%
patients = load_diabetes(scaled=False)
rng = np.random.default_rng(0)
frame = pd.DataFrame(patients.data[:, :4], columns=["age", "sex", "bmi", "pressure"])
frame["sugar"], frame["progression"] = patients.data[:, 9], patients.target
frame["sex"] = frame["sex"].map({1: "female", 2: "male"})
frame = frame.mask(rng.random(frame.shape) < 0.05).astype({"age": "Int64"})
data = probvae.data.load(frame, missing=True, kinds={"progression": "lognormal", "age": "normal"})
print(data.schema)

# %% [markdown]
# Each column gets the distribution of its kind; blank cells are left out of the bound.

# %%
training = probvae.Training(
    binarize="none", epochs=2 if quick else 300, batch_size=32, learning_rate=1e-3, schedule="cosine"
)
architecture = probvae.Architecture(
    **shape_fields(data, training, "mixed"),
    latent_dim=4,
    likelihood="mixed",
    network="mlp",
    units=(64, 64),
    missing=True,
)
vae = probvae.build(architecture, schema=data.schema)
prepared = probvae.data.prepare(data, binarize="none", likelihood="mixed")
history = fit(vae, prepared, training)
print(f"test ELBO {history[-1].test_elbo:.2f} nats per patient, after {len(history)} epochs")

# %% [markdown]
# Simulated patients, in the units of the table, next to the real ones.

# %%
real = probvae.data.to_frame(data.schema, data.train[:])
drawn = probvae.data.to_frame(data.schema, vae.sample(2000, seed=1))
columns = ["age", "bmi", "pressure", "sugar", "progression"]
spread = {
    name: table[columns].astype(float).agg(["mean", "std"])
    for name, table in (("real", real), ("drawn", drawn))
}
print(pd.concat(spread).T.round(1).to_string())
for name, table in (("real", real), ("drawn", drawn)):
    print(
        f"  {(table['sex'] == 'male').sum() / table['sex'].notna().sum():.0%} of the {name} patients are male"
    )

# %% [markdown]
# A prediction is an imputation, here of the progression of test patients from the other columns. It is
# compared with a linear regression that was fitted for this column; the model was not trained for any
# particular column.

# %%
test = probvae.data.to_frame(data.schema, data.test[:])
test = test[test["progression"].notna()].reset_index(drop=True)
truth = test["progression"].to_numpy()
asked = test.assign(progression=np.nan)
imputed = probvae.impute(vae, asked, num_samples=500 if quick else 3000, seed=0)
guess, sd = imputed.mean["progression"].to_numpy(), imputed.sd["progression"].to_numpy()


def predictors(table):
    """The other columns as numbers, blank cells filled in with the mean of the training set."""
    numbers = table.drop(columns="progression").assign(sex=table["sex"].map({"female": 0, "male": 1}))
    return numbers.astype(float).fillna(real[columns[:-1]].astype(float).mean()).fillna(0.5)


trained = real[real["progression"].notna()]
line = LinearRegression().fit(predictors(trained), np.log(trained["progression"].astype(float)))
straight = np.exp(line.predict(predictors(test)))
mean = np.full(len(truth), trained["progression"].mean())
for name, values in (("the model", guess), ("linear regression", straight), ("the mean", mean)):
    print(f"  {name:18} off by {np.mean(np.abs(values - truth)):.1f} in progression, on average")
inside = np.abs(truth - guess) < 2 * sd
print(f"  within two standard deviations of the model's mean: {inside.mean():.0%} of {len(truth)} patients")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for table, name, size in ((drawn, "drawn", 5), (real, "real", 12)):
    axes[0].scatter(table["bmi"], table["progression"], s=size, alpha=0.5, linewidths=0, label=name)
axes[0].set(
    xlabel="bmi", ylabel="progression", title="Patients, real and drawn", ylim=(0, 450), xlim=(12, 48)
)
axes[0].legend(frameon=False)
axes[1].errorbar(truth, guess, 2 * sd, fmt="o", markersize=4, linewidth=0.8, alpha=0.8)
axes[1].axline((0, 0), slope=1, color="0.5", linewidth=0.8)
axes[1].set(
    xlabel="progression", ylabel="imputed, ± two standard deviations", title="Progression, given the rest"
)
figure.savefig("mixed_table.png", dpi=120)
print("wrote mixed_table.png")
