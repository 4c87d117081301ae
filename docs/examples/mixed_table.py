"""A table of mixed columns: numbers and a category in one model, which predicts missing values.

Data: scikit-learn's diabetes table, 442 patients; no network. Run it as
`python docs/examples/mixed_table.py`; with --quick it trains for a moment only.
"""

# %%
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

import probvae
from probvae.data.from_config import shape_fields
from probvae.training.trainer import fit

quick = "--quick" in sys.argv

# %% [markdown]
# The table is a typical .csv file, with a column of words, a column of whole numbers, and some blank cells.

# %%
patients = load_diabetes(scaled=False)
rng = np.random.default_rng(0)
age, sex, bmi, pressure = patients.data[:, :4].T
sugar, progression = patients.data[:, 9], patients.target
lines = ["age,sex,bmi,pressure,sugar,progression"]
for row in zip(age, sex, bmi, pressure, sugar, progression, strict=True):
    cells = [f"{row[0]:.0f}", "male" if row[1] == 2 else "female", *(f"{value:g}" for value in row[2:])]
    lines.append(",".join("" if rng.random() < 0.05 else cell for cell in cells))
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "patients.csv"
    path.write_text("\n".join(lines) + "\n")
    data = probvae.data.load(path, missing=True, kinds={"progression": "lognormal", "age": "normal"})
for column, kind in zip(data.columns, data.kinds, strict=True):
    print(f"  {column:12} {kind}")

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
vae = probvae.build(architecture)
prepared = probvae.data.prepare(data, binarize="none", likelihood="mixed")
history = fit(vae, prepared, training)
print(f"test ELBO {history[-1].test_elbo:.2f} nats per patient, after {len(history)} epochs")

# %% [markdown]
# Simulated patients, in the units of the file, next to the real ones.

# %%
real = probvae.data.in_units(data, data.train[:])
drawn = probvae.data.in_units(data, vae.sample(2000, seed=1).numpy())
print("                 real            drawn")
for column in ("age", "bmi", "pressure", "sugar", "progression"):
    means = [(np.nanmean(t[column]), np.nanstd(t[column])) for t in (real, drawn)]
    print(f"  {column:12}" + "  ".join(f"{mean:6.1f} ± {sd:5.1f}" for mean, sd in means))
share = [np.mean(t["sex"][t["sex"] != ""] == "male") for t in (real, drawn)]
print(f"  male          {share[0]:.0%}             {share[1]:.0%}")

# %% [markdown]
# A prediction is an imputation, here of the progression of test patients from the other columns. It is
# compared with a linear regression that was fitted for this column; the model was not trained for any
# particular column.

# %%
target = data.columns.index("progression")
known = ~np.isnan(data.test[:, target])
asked = data.test[known].copy()
asked[:, target] = np.nan
imputed = probvae.impute(vae, asked, num_samples=500 if quick else 3000, seed=0)
truth, guess = data.test[known, target], imputed.mean[:, target]
filled = [np.where(np.isnan(x), np.nanmean(data.train, axis=0), x) for x in (data.train, data.test[known])]
others = [np.delete(x, target, axis=1) for x in filled]
line = LinearRegression().fit(others[0], np.log(filled[0][:, target]))
straight = np.exp(line.predict(others[1]))
mean = np.full(len(truth), np.nanmean(data.train[:, target]))
for name, values in (("the model", guess), ("linear regression", straight), ("the mean", mean)):
    print(f"  {name:18} off by {np.mean(np.abs(values - truth)):.1f} in progression, on average")
inside = np.abs(truth - guess) < 2 * imputed.sd[:, target]
print(f"  within two standard deviations of the model's mean: {inside.mean():.0%} of {len(truth)} patients")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for table, name, size in ((drawn, "drawn", 5), (real, "real", 12)):
    axes[0].scatter(table["bmi"], table["progression"], s=size, alpha=0.5, linewidths=0, label=name)
axes[0].set(
    xlabel="bmi", ylabel="progression", title="Patients, real and drawn", ylim=(0, 450), xlim=(12, 48)
)
axes[0].legend(frameon=False)
axes[1].errorbar(truth, guess, 2 * imputed.sd[:, target], fmt="o", markersize=4, linewidth=0.8, alpha=0.8)
axes[1].axline((0, 0), slope=1, color="0.5", linewidth=0.8)
axes[1].set(
    xlabel="progression", ylabel="imputed, ± two standard deviations", title="Progression, given the rest"
)
figure.savefig("mixed_table.png", dpi=120)
print("wrote mixed_table.png")
