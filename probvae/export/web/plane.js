"use strict";
// The latent plane: where two coordinates of z lie on the screen, and what is drawn there.

const PALETTE = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#8a8a8a", "#e0873c", "#6f5bd0", "#2bb39a"];

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// A colour between three, for t from 0 to 1.
function between(stops, t) {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2);
  const [a, b] = [rgb(stops[i]), rgb(stops[i + 1])];
  return `rgb(${a.map((v, k) => Math.round(v + (at - i) * (b[k] - v))).join(" ")})`;
}

class Plane {
  constructor(element, content) {
    this.element = element;
    this.content = content;
    this.base = element.querySelector("#base");
    this.overlay = element.querySelector("#overlay");
    this.axes = content.latent_dim > 1 ? [0, 1] : [0, null];
    this.colour = "log_prob";
    this.tiles = null;
    const known = content.points.log_prob.filter((v) => v !== null).sort((a, b) => a - b);
    this.range = [0.05, 0.95].map((q) => known[Math.round(q * (known.length - 1))] ?? 0);
    this.setAxes(this.axes);
  }

  // The coordinate of a point on an axis; a model with one z has no second, where points are spread out.
  at(index, axis) {
    return axis === null ? ((index * 0.618034) % 1) * 2 - 1 : this.content.points.mean[index][axis];
  }

  setAxes(axes) {
    this.axes = axes;
    const boxes = axes.map((axis) => {
      const values = this.content.points.mean.map((_, i) => this.at(i, axis));
      return [Math.min(-1.5, ...values), Math.max(1.5, ...values)];
    });
    const half = 0.53 * Math.max(...boxes.map(([low, high]) => high - low));
    this.low = boxes.map(([low, high]) => (low + high) / 2 - half);
    this.span = 2 * half;
    this.tiles = null;
  }

  resize() {
    const size = this.element.clientWidth, ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.base, this.overlay]) {
      canvas.width = canvas.height = Math.round(size * ratio);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    this.size = size;
  }

  toScreen(u, v) {
    return [((u - this.low[0]) / this.span) * this.size, this.size - ((v - this.low[1]) / this.span) * this.size];
  }

  toLatent(x, y) {
    return [this.low[0] + (x / this.size) * this.span, this.low[1] + ((this.size - y) / this.size) * this.span];
  }

  place(z) {
    return this.toScreen(z[this.axes[0]], this.axes[1] === null ? 0 : z[this.axes[1]]);
  }

  placePoint(index) {
    return this.toScreen(this.at(index, this.axes[0]), this.at(index, this.axes[1]));
  }

  // The nearest test image within `reach` pixels; -1 where there is none.
  nearest(x, y, reach) {
    let found = -1, least = reach * reach;
    for (let i = 0; i < this.content.points.number; i++) {
      const [a, b] = this.placePoint(i), d = (a - x) ** 2 + (b - y) ** 2;
      if (d < least) [found, least] = [i, d];
    }
    return found;
  }

  colourOf(index) {
    const points = this.content.points;
    if (this.colour === "label") return PALETTE[points.labels[index] % PALETTE.length];
    const value = points.log_prob[index];
    if (value === null) return style("--soft");
    const t = (value - this.range[0]) / (this.range[1] - this.range[0] || 1);
    return between(["--low", "--middle", "--high"].map(style), t);
  }

  drawBase() {
    document.documentElement.classList.toggle("tiled", Boolean(this.tiles)); // lighter colours on decoded images
    const context = this.base.getContext("2d");
    context.clearRect(0, 0, this.size, this.size);
    if (this.tiles) {
      context.fillStyle = "#000";
      context.fillRect(0, 0, this.size, this.size);
      context.imageSmoothingEnabled = false;
      context.globalAlpha = 0.7;
      context.drawImage(this.tiles, 0, 0, this.size, this.size);
      context.globalAlpha = 1;
    }
    this.drawGrid(context);
    const radius = Math.max(2.2, Math.min(4.5, this.size / 150)) * (this.content.points.number > 1500 ? 0.7 : 1);
    const colours = new Map(), rim = this.tiles ? "#000" : style("--plane");
    context.lineWidth = 1;
    context.strokeStyle = rim;
    for (let i = 0; i < this.content.points.number; i++) {
      const [x, y] = this.placePoint(i);
      const key = this.colour === "label" ? this.content.points.labels[i] : this.content.points.log_prob[i];
      if (!colours.has(key)) colours.set(key, this.colourOf(i));
      context.fillStyle = colours.get(key);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  // The distance between two lines of the grid.
  step() {
    return [0.5, 1, 2, 5, 10, 20, 50, 100].find((s) => this.span / s < 12) || this.span / 8;
  }

  drawGrid(context) {
    const soft = this.tiles ? "#ffffffb0" : style("--soft"), line = this.tiles ? "#ffffff40" : style("--line");
    const step = this.step();
    context.lineWidth = 1;
    context.font = "11px system-ui, sans-serif";
    for (let axis = 0; axis < 2; axis++) {
      if (this.axes[axis] === null) continue;
      const first = Math.ceil(this.low[axis] / step) * step;
      for (let v = first; v < this.low[axis] + this.span; v += step) {
        const [x, y] = axis ? this.toScreen(0, v) : this.toScreen(v, 0);
        context.strokeStyle = line;
        context.globalAlpha = Math.abs(v) < step / 2 ? 1 : 0.55;
        context.beginPath();
        context.moveTo(axis ? 0 : x, axis ? y : 0);
        context.lineTo(axis ? this.size : x, axis ? y : this.size);
        context.stroke();
        context.globalAlpha = 1;
        context.fillStyle = soft;
        const text = String(+v.toFixed(1)).replace("-", "−");
        if (axis && y > 24 && y < this.size - 24) context.fillText(text, 5, y - 3);
        if (!axis && x > 24 && x < this.size - 30) context.fillText(text, x + 3, this.size - 6);
      }
    }
    if (this.content.prior !== "standard_normal" || this.axes[1] === null) return;
    const [x, y] = this.toScreen(0, 0);
    context.strokeStyle = soft;
    context.setLineDash([3, 4]);
    for (const r of [1, 2, 3]) {
      context.beginPath();
      context.arc(x, y, (r / this.span) * this.size, 0, 2 * Math.PI);
      context.stroke();
    }
    context.setLineDash([]);
  }

  drawOverlay(z, marks) {
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, this.size, this.size);
    for (const { posterior, index, colour } of marks) {
      const at = index === undefined ? this.place(posterior.mean) : this.placePoint(index);
      this.drawEllipses(context, at, posterior.covariance, colour);
      if (index === undefined) this.drawDiamond(context, at, colour);
      else this.drawRing(context, at, colour);
    }
    const [x, y] = this.place(z), ink = this.tiles ? "#fff" : style("--ink");
    for (const [width, colour] of [[4, this.tiles ? "#000" : style("--plane")], [1.6, ink]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(x, y, 8, 0, 2 * Math.PI);
      for (const [a, b] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 5 * a, y + 5 * b);
        context.lineTo(x + 14 * a, y + 14 * b);
      }
      context.stroke();
    }
  }

  // The one and two standard deviations of the normal with q(z|x)'s moments in these two coordinates.
  drawEllipses(context, [x, y], covariance, colour) {
    const n = this.content.latent_dim, [i, j] = this.axes, scale = this.size / this.span;
    const a = covariance[i * n + i], c = j === null ? 0 : covariance[j * n + j];
    const b = j === null ? 0 : covariance[i * n + j];
    const middle = (a + c) / 2, apart = Math.hypot((a - c) / 2, b);
    const angle = Math.atan2(2 * b, a - c) / 2;
    const [long, short] = [middle + apart, Math.max(middle - apart, 0)].map((v) => Math.sqrt(v) * scale);
    for (const k of [2, 1]) {
      context.beginPath();
      context.ellipse(x, y, k * long, Math.max(k * short, 1), -angle, 0, 2 * Math.PI);
      context.fillStyle = colour;
      context.globalAlpha = 0.14;
      context.fill();
      context.globalAlpha = 1;
      context.strokeStyle = colour;
      context.lineWidth = 1.8;
      context.stroke();
    }
  }

  drawRing(context, [x, y], colour) {
    context.beginPath();
    context.arc(x, y, 5.5, 0, 2 * Math.PI);
    context.lineWidth = 2.5;
    context.strokeStyle = colour;
    context.stroke();
  }

  drawDiamond(context, [x, y], colour) {
    const r = 8;
    context.beginPath();
    context.moveTo(x, y - r);
    for (const [a, b] of [[r, 0], [0, r], [-r, 0]]) context.lineTo(x + a, y + b);
    context.closePath();
    context.fillStyle = colour;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = this.tiles ? "#fff" : style("--plane");
    context.stroke();
  }
}
