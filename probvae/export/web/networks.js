"use strict";
// What the plans of layers.py compute, and the two distributions that they end in. No DOM here.
// Images are [height, width, channels], one row after the other; kernels are [k, k, in, out].

const activations = {
  relu: (v) => (v > 0 ? v : 0),
  elu: (v) => (v > 0 ? v : Math.expm1(v)),
  gelu: (v) => 0.5 * v * (1 + erf(v / Math.SQRT2)),
  swish: (v) => v * sigmoid(v),
  tanh: Math.tanh,
  sigmoid,
};

function sigmoid(v) {
  if (v >= 0) return 1 / (1 + Math.exp(-v));
  const e = Math.exp(v);
  return e / (1 + e);
}

function softplus(v) {
  return Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
}

// The error function: its Maclaurin series near zero, the continued fraction of its complement elsewhere.
function erf(v) {
  const a = Math.abs(v);
  if (a > 6) return Math.sign(v);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(v) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let tail = 0;
  for (let n = 60; n > 0; n--) tail = n / 2 / (a + tail);
  return Math.sign(v) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + tail)));
}

function activate(name, out) {
  if (name === "linear") return;
  if (name === "relu") {
    for (let i = 0; i < out.length; i++) if (out[i] < 0) out[i] = 0;
    return;
  }
  const f = activations[name];
  for (let i = 0; i < out.length; i++) out[i] = f(out[i]);
}

// Adds to out[at ...] the rows of a kernel that belong to the inputs named by `used`, each times its input.
// Four at a time, because memory costs more than arithmetic.
function addRows(out, at, size, w, kernel, x, source, used, number) {
  let k = 0;
  for (; k + 3 < number; k += 4) {
    const v0 = x[source + used[k]], v1 = x[source + used[k + 1]];
    const v2 = x[source + used[k + 2]], v3 = x[source + used[k + 3]];
    const w0 = kernel + used[k] * size, w1 = kernel + used[k + 1] * size;
    const w2 = kernel + used[k + 2] * size, w3 = kernel + used[k + 3] * size;
    for (let j = 0; j < size; j++)
      out[at + j] += v0 * w[w0 + j] + v1 * w[w1 + j] + v2 * w[w2 + j] + v3 * w[w3 + j];
  }
  for (; k < number; k++) {
    const v = x[source + used[k]], row = kernel + used[k] * size;
    for (let j = 0; j < size; j++) out[at + j] += v * w[row + j];
  }
}

// Writes which of n inputs are not zero, as half of them are after a rectifier, and returns how many.
function findUsed(used, x, source, n) {
  let number = 0;
  for (let k = 0; k < n; k++) if (x[source + k] !== 0) used[number++] = k;
  return number;
}

// Both convolutions: every input pixel adds its kernel to the output pixels at `place(y, i)`, -1 for none.
function convolve(o, w, x, out, place) {
  const { channels: c, filters: f, size } = o;
  o.used = o.used || new Int32Array(c);
  fillBias(out, w, o.bias, f);
  for (let y = 0; y < o.height; y++)
    for (let across = 0; across < o.width; across++) {
      const source = (y * o.width + across) * c, number = findUsed(o.used, x, source, c);
      if (!number) continue;
      for (let i = 0; i < size; i++) {
        const row = place(y, i, o.top, o.stride);
        if (row < 0 || row >= o.height_out) continue;
        for (let j = 0; j < size; j++) {
          const column = place(across, j, o.left, o.stride);
          if (column < 0 || column >= o.width_out) continue;
          const at = (row * o.width_out + column) * f, kernel = o.kernel + (i * size + j) * c * f;
          addRows(out, at, f, w, kernel, x, source, o.used, number);
        }
      }
    }
  activate(o.activation, out);
}

function fillBias(out, w, bias, n) {
  for (let at = 0; at < out.length; at += n) for (let j = 0; j < n; j++) out[at + j] = w[bias + j];
}

const operations = {
  dense(o, w, x, out) {
    o.used = o.used || new Int32Array(o.in);
    fillBias(out, w, o.bias, o.out);
    addRows(out, 0, o.out, w, o.kernel, x, 0, o.used, findUsed(o.used, x, 0, o.in));
    activate(o.activation, out);
  },

  conv: (o, w, x, out) =>
    convolve(o, w, x, out, (y, i, before, stride) => {
      const at = y + before - i;
      return at % stride ? -1 : at / stride;
    }),

  deconv: (o, w, x, out) => convolve(o, w, x, out, (y, i, before, stride) => y * stride + i - before),

  residual(o, w, x, out) {
    const inner = carryOut(o.plan, w, x);
    for (let i = 0; i < out.length; i++) out[i] = x[i] + inner[i];
  },

  activation(o, w, x, out) {
    out.set(x);
    activate(o.activation, out);
  },

  gate(o, w, x, out) {
    for (let i = 0; i < o.out; i++) out[i] = x[i] * sigmoid(x[o.out + i]);
  },

  crop(o, w, x, out) {
    const n = o.width_out * o.channels;
    for (let row = 0; row < o.height_out; row++) {
      const from = row * o.width * o.channels;
      out.set(x.subarray(from, from + n), row * n);
    }
  },

  context(o, w, x, out, y) {
    const n = o.channels + y.length;
    for (let i = 0; i < o.places; i++) {
      out.set(x.subarray(i * o.channels, (i + 1) * o.channels), i * n);
      out.set(y, i * n + o.channels);
    }
  },

  log1p(o, w, x, out) {
    for (let i = 0; i < o.out; i++) out[i] = Math.log1p(x[i]);
  },

  divide(o, w, x, out) {
    for (let i = 0; i < o.out; i++) out[i] = x[i] / o.by;
  },
};

// Returns the output of a plan; the array is overwritten by the next call with the same plan.
function carryOut(plan, w, x, y) {
  for (const o of plan) {
    o.buffer = o.buffer || new Float32Array(o.out || o.places_out * o.filters);
    operations[o.op](o, w, x, o.buffer, y);
    x = o.buffer;
  }
  return x;
}

// The mean of p(x|z) from the parameters of each value, which lie side by side.
const likelihoodMeans = {
  bernoulli: (p, i) => sigmoid(p[i]),
  continuous_bernoulli: (p, i) => {
    const l = Math.min(Math.max(p[i], -1e5), 1e5);
    return Math.abs(l) < 0.05 ? 0.5 + l / 12 - (l * l * l) / 720 : -1 / Math.expm1(-l) - 1 / l;
  },
  normal_fixed: (p, i) => p[i],
  normal_shared: (p, i) => p[i],
  normal: (p, i) => p[2 * i],
  poisson: (p, i) => Math.exp(Math.min(Math.max(p[i], -30), 30)),
  negative_binomial: (p, i) => Math.exp(Math.min(Math.max(p[2 * i], -30), 30)),
  categorical: (p, i, classes) => {
    let top = -Infinity, sum = 0, mean = 0;
    for (let k = 0; k < classes; k++) top = Math.max(top, p[i * classes + k]);
    for (let k = 0; k < classes; k++) {
      const e = Math.exp(p[i * classes + k] - top);
      sum += e;
      mean += k * e;
    }
    return mean / sum;
  },
};

function likelihoodMean(model, params) {
  const size = model.event_shape.reduce((a, b) => a * b, 1);
  const mean = new Float32Array(size), at = likelihoodMeans[model.likelihood];
  for (let i = 0; i < size; i++) mean[i] = at(params, i, model.classes);
  return mean;
}

function variance(logVariance) {
  return Math.exp(Math.min(Math.max(logVariance, -40), 40));
}

// Mean [L] and covariance [L, L] of q(z|x) from the encoder's parameters.
const posteriors = {
  diagonal(p, n) {
    const covariance = new Float64Array(n * n);
    for (let i = 0; i < n; i++) covariance[i * n + i] = variance(p[n + i]);
    return { mean: p.slice(0, n), covariance };
  },

  // TFP's order of a triangle: the last numbers first, the rest from behind.
  tril(p, n) {
    const m = (n * (n + 1)) / 2, entry = (k) => p[n + (k < m - n ? k + n : 2 * m - n - 1 - k)];
    const scale = new Float64Array(n * n), covariance = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j <= i; j++) {
        const v = entry(i * n + j);
        scale[i * n + j] = i === j ? softplus(v) + 1e-5 : v;
      }
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n; k++) covariance[i * n + j] += scale[i * n + k] * scale[j * n + k];
    return { mean: p.slice(0, n), covariance };
  },

  low_rank(p, n) {
    const rank = p.length / n - 2, covariance = new Float64Array(n * n);
    const factor = (i, k) => 10 * Math.tanh(p[2 * n + i * rank + k] / 10);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        let v = i === j ? 1 : 0;
        for (let k = 0; k < rank; k++) v += factor(i, k) * factor(j, k);
        covariance[i * n + j] = v * Math.sqrt(variance(p[n + i]) * variance(p[n + j]));
      }
    return { mean: p.slice(0, n), covariance };
  },

  mixture(p, n) {
    const components = p.length / (1 + 2 * n), covariance = new Float64Array(n * n);
    const mean = new Float32Array(n), weights = Array.from(p.slice(0, components));
    const top = Math.max(...weights), total = weights.reduce((a, v) => a + Math.exp(v - top), 0);
    const loc = (k, i) => p[components + 2 * n * k + i];
    for (let k = 0; k < components; k++) {
      weights[k] = Math.exp(weights[k] - top) / total;
      for (let i = 0; i < n; i++) mean[i] += weights[k] * loc(k, i);
    }
    for (let k = 0; k < components; k++)
      for (let i = 0; i < n; i++) {
        covariance[i * n + i] += weights[k] * variance(loc(k, n + i));
        for (let j = 0; j < n; j++)
          covariance[i * n + j] += weights[k] * (loc(k, i) - mean[i]) * (loc(k, j) - mean[j]);
      }
    return { mean, covariance };
  },
};

// A model: decode(z, y) gives the mean of p(x|z), encode(x, y) mean and covariance of q(z|x); y is a class.
class Model {
  constructor(content, weights) {
    this.content = content;
    this.weights = weights;
  }

  oneHot(y) {
    const context = new Float32Array(this.content.classes_y);
    if (context.length) context[y] = 1;
    return context;
  }

  decode(z, y = 0) {
    const input = new Float32Array(z.length + this.content.classes_y);
    input.set(z);
    input.set(this.oneHot(y), z.length);
    return likelihoodMean(this.content, carryOut(this.content.decoder, this.weights, input));
  }

  encode(x, y = 0) {
    const params = carryOut(this.content.encoder, this.weights, x, this.oneHot(y));
    return posteriors[this.content.posterior](params, this.content.latent_dim);
  }
}

function fromBase64(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
