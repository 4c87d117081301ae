"""Anomaly detection: a model of benign tumours measures how unlikely other tumours are.

Data: scikit-learn's breast cancer table, 569 tumours with 30 measurements each; no network. Run it as
`python docs/examples/anomaly_detection.py`; with --quick it trains for a moment only.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import probvae
from probvae.evaluation.outliers import auroc

quick = "--quick" in sys.argv

# %% [markdown]
# The model is trained on benign tumours only. A third of them is held out, to compare with the malignant
# ones.

# %%
table = load_breast_cancer()
benign = table.data[table.target_names[table.target] == "benign"]
malignant = table.data[table.target_names[table.target] == "malignant"]
train, unseen = train_test_split(benign, test_size=1 / 3, random_state=0)

vae = probvae.VAETransformer(
    latent_dim=8, units=(64, 64), epochs=3 if quick else 150, validation=0.1, patience=30, random_state=0
)
vae.fit(train)
print(f"{len(train)} benign tumours with {train.shape[1]} measurements, {len(vae.history_['epoch'])} epochs")

# %% [markdown]
# The score is minus the bound on log p(x), in nats, so unlikely rows have a high score. The baseline is a
# single normal distribution over the 30 measurements, fitted to the same rows; with so few data it is a
# strong baseline.

# %%
inlier, outlier = -vae.score_samples(unseen), -vae.score_samples(malignant)
normal = EmpiricalCovariance().fit(train)
baseline = auroc(normal.mahalanobis(unseen), normal.mahalanobis(malignant))
area = auroc(inlier, outlier)
threshold = np.quantile(inlier, 0.95)
print(f"-log p(x), median: {np.median(inlier):.1f} nats benign, {np.median(outlier):.1f} malignant")
print(f"area under the ROC curve: {area.value:.3f} ± {area.standard_error:.3f}")
print(f"  one normal distribution: {baseline.value:.3f} ± {baseline.standard_error:.3f}")
print(f"at 5% false alarms it finds {np.mean(outlier > threshold):.0%} of the malignant tumours")

# %% [markdown]
# The reconstruction error shows which measurements are unusual, in standard deviations of the benign tumours.

# %%
back = vae.inverse_transform(vae.transform(malignant))
error = np.abs(malignant - back).mean(axis=0) / train.std(axis=0)
for i in np.argsort(error)[::-1][:3]:
    print(f"  {table.feature_names[i]}: off by {error[i]:.1f} standard deviations")

# %%
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
lowest = min(inlier.min(), outlier.min()) - 1
edges = np.geomspace(1, max(inlier.max(), outlier.max()) - lowest, 50)
for name, scores in (("benign, unseen", inlier), ("malignant", outlier)):
    ax.hist(scores - lowest, edges, weights=np.full(len(scores), 1 / len(scores)), alpha=0.6, label=name)
ax.axvline(threshold - lowest, color="0.3", linestyle="dashed", label="5% false alarms")
ax.set(xscale="log", xlabel="-log p(x) above the lowest, nats", ylabel="share of the tumours")
ax.set_title(f"A VAE of benign tumours: area under the ROC curve {area.value:.3f}", loc="left")
ax.legend(frameon=False)
figure.savefig("anomaly_detection.png", dpi=120)
print("wrote anomaly_detection.png")
