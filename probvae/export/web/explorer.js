"use strict";
// The page: z follows the pointer, and everything that depends on it is drawn anew once a frame.

const byId = (id) => document.getElementById(id);
const content = JSON.parse(byId("content").textContent);
const [HEIGHT, WIDTH, CHANNELS] = content.event_shape;
const SIZE = HEIGHT * WIDTH * CHANNELS;
const model = new Model(content, new Float32Array(fromBase64(content.weights).buffer));
const plane = new Plane(byId("plane"), content);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const state = {
  z: new Float32Array(content.latent_dim),
  y: 0,
  held: false,
  point: -1, // the test image shown
  posteriors: new Map(), // of test images
  own: null, // the visitor's image: values, and q(z|x)
  due: false,
};

// ---- images --------------------------------------------------------------------------------------

const stored = (() => {
  const bytes = fromBase64(content.points.images);
  const values = content.points.type === "uint8" ? bytes : new Float32Array(bytes.buffer);
  return (index) => {
    const x = new Float32Array(SIZE);
    for (let i = 0; i < SIZE; i++) x[i] = values[index * SIZE + i] / content.points.by;
    return x;
  };
})();

function paint(canvas, x, what) {
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d");
  context.putImageData(toPixels(x), 0, 0);
  if (what) canvas.setAttribute("aria-label", what);
}

function toPixels(x) {
  const image = new ImageData(WIDTH, HEIGHT);
  for (let i = 0; i < WIDTH * HEIGHT; i++) {
    for (let c = 0; c < 3; c++)
      image.data[4 * i + c] = (255 * x[i * CHANNELS + (CHANNELS === 3 ? c : 0)]) / content.highest;
    image.data[4 * i + 3] = 255;
  }
  return image;
}

// ---- words ---------------------------------------------------------------------------------------

const number = (v, digits = 2) => v.toFixed(digits).replace("-", "−");
const className = (y) => content.label_names[y] ?? String(y);
const subscripts = (n) => String(n).replace(/\d/g, (d) => "₀₁₂₃₄₅₆₇₈₉"[d]);
const zName = (axis) => `z${subscripts(axis + 1)}`;

function zInWords(z) {
  const axes = plane.axes.filter((axis) => axis !== null);
  return axes.map((axis) => `${zName(axis)} = ${number(z[axis])}`).join(", ");
}

function pointInWords(index) {
  const { labels, log_prob } = content.points;
  const label = labels ? `, class ${className(labels[index])}` : "";
  const value = log_prob[index] === null ? "" : `, ${content.log_prob.name} ${number(log_prob[index], 1)} nats`;
  return `test image ${index + 1}${label}${value}`;
}

let spoken = 0;
function say(text) {
  clearTimeout(spoken);
  spoken = setTimeout(() => (byId("live").textContent = text), 350);
}

// ---- one frame -----------------------------------------------------------------------------------

function ask() {
  if (state.due) return;
  state.due = true;
  requestAnimationFrame(() => {
    state.due = false;
    draw();
  });
}

function draw() {
  const start = performance.now();
  const mean = model.decode(state.z, state.y);
  const took = performance.now() - start;
  paint(byId("decoded"), mean, `mean of p(x|z) at ${zInWords(state.z)}`);
  byId("time").textContent = `Decoded here in ${number(took, 1)} ms.`;
  byId("held").hidden = !state.held;
  const marks = [];
  if (state.point >= 0)
    marks.push({ posterior: posteriorOf(state.point), index: state.point, colour: style("--accent") });
  if (state.own) marks.push({ posterior: state.own.posterior, colour: style("--own") });
  plane.drawOverlay(state.z, marks);
  sliders.forEach((slider, i) => slider.show(state.z[i]));
  const near = state.point >= 0 ? `; shown: ${pointInWords(state.point)}` : "";
  byId("plane-value").textContent = `${zInWords(state.z)}${near}`;
}

function posteriorOf(index) {
  if (!state.posteriors.has(index))
    state.posteriors.set(index, model.encode(stored(index), content.points.labels ? content.points.labels[index] : 0));
  return state.posteriors.get(index);
}

function select(index) {
  if (index === state.point || index < 0) return;
  state.point = index;
  const posterior = posteriorOf(index), label = content.points.labels ? content.points.labels[index] : null;
  paint(byId("original"), stored(index), `${pointInWords(index)}`);
  const y = label ?? 0;
  paint(byId("reconstruction"), model.decode(posterior.mean, y), `reconstruction of test image ${index + 1}`);
  byId("point-heading").textContent = `Test image ${index + 1} of ${content.points.number}`;
  const n = content.latent_dim, axes = plane.axes.filter((axis) => axis !== null);
  const scale = axes.map((axis) => number(Math.sqrt(posterior.covariance[axis * n + axis]), 3));
  const value = content.points.log_prob[index];
  const facts = [
    ...(label === null ? [] : [["class", className(label)]]),
    [content.log_prob.name, value === null ? "not finite" : `${number(value, 1)} nats`],
    ["q(z|x)", axes.map((axis, i) => `${number(posterior.mean[axis])} ± ${scale[i]}`).join("\n")],
  ];
  byId("facts").replaceChildren(
    ...facts.flatMap(([name, text]) => {
      const term = document.createElement("dt"), lines = document.createElement("dd");
      term.textContent = name;
      lines.append(...text.split("\n").flatMap((line, i) => (i ? [document.createElement("br"), line] : [line])));
      return [term, lines];
    }),
  );
  ask();
}

function moveTo(z, { announce = false, hold = false } = {}) {
  state.z.set(z);
  if (hold) state.held = true;
  const [x, y] = plane.place(state.z);
  if (content.latent_dim === 2) select(plane.nearest(x, y, 11));
  if (announce) say(`${zInWords(state.z)}${state.point >= 0 ? `; ${pointInWords(state.point)}` : ""}`);
  ask();
}

function visit(index) {
  const n = content.points.number, to = ((index % n) + n) % n;
  select(to);
  if (content.classes_y) setClass(content.points.labels[to]);
  state.z.set(posteriorOf(to).mean);
  state.held = true;
  say(`${pointInWords(to)}; ${zInWords(state.z)}`);
  ask();
}

function setClass(y) {
  state.y = y;
  byId("class").value = String(y);
  if (plane.tiles) startTiles();
  ask();
}

// ---- the plane -----------------------------------------------------------------------------------

function follow(event) {
  const box = plane.element.getBoundingClientRect();
  const x = event.clientX - box.left - plane.element.clientLeft, y = event.clientY - box.top - plane.element.clientTop;
  const [u, v] = plane.toLatent(x, y), z = Float32Array.from(state.z);
  z[plane.axes[0]] = u;
  if (plane.axes[1] !== null) z[plane.axes[1]] = v;
  if (content.latent_dim !== 2) select(plane.nearest(x, y, 11));
  moveTo(z);
}

const element = plane.element;
element.addEventListener("pointerdown", (event) => {
  element.setPointerCapture(event.pointerId);
  state.held = !(state.held && event.pointerType === "mouse");
  follow(event);
});
element.addEventListener("pointermove", (event) => {
  if (!state.held || event.buttons) follow(event);
});
element.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = Math.max(0.1, plane.step() / 10) * (event.shiftKey ? 5 : 1), z = Float32Array.from(state.z), [across, up] = plane.axes;
  const moves = { ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowDown: [up, -1], ArrowUp: [up, 1] };
  if (moves[event.key]) {
    const [axis, sign] = moves[event.key];
    if (axis !== null) z[axis] = Math.min(Math.max(z[axis] + sign * step, -1e3), 1e3);
    moveTo(z, { announce: true, hold: true });
  } else if (event.key === "Home") moveTo(z.fill(0), { announce: true, hold: true });
  else if (event.key === "n" || event.key === "N") visit(state.point + 1);
  else if (event.key === "p" || event.key === "P") visit(state.point - 1);
  else if (event.key === "Escape") {
    state.held = false;
    ask();
  } else return;
  event.preventDefault();
});

// The plane decoded on a grid, some tiles a frame so that the page stays quick.
let tiling = 0;
function startTiles() {
  const run = ++tiling;
  if (!byId("tiles").checked || plane.axes[1] === null) {
    plane.tiles = null;
    plane.drawBase();
    return ask();
  }
  const start = performance.now();
  model.decode(state.z, state.y);
  const cost = performance.now() - start;
  const n = Math.max(8, Math.min(24, Math.floor(plane.size / 26), Math.floor(Math.sqrt(5000 / (cost + 0.1)))));
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  [canvas.width, canvas.height] = [n * WIDTH, n * HEIGHT];
  const z = Float32Array.from(state.z);
  let next = 0;
  const some = () => {
    if (run !== tiling) return;
    const until = performance.now() + 12;
    while (next < n * n && performance.now() < until) {
      const column = next % n, row = Math.floor(next / n);
      z[plane.axes[0]] = plane.low[0] + ((column + 0.5) / n) * plane.span;
      z[plane.axes[1]] = plane.low[1] + ((n - row - 0.5) / n) * plane.span;
      context.putImageData(toPixels(model.decode(z, state.y)), column * WIDTH, row * HEIGHT);
      next++;
    }
    const done = next === n * n;
    if (done || !calm.matches) {
      plane.tiles = canvas;
      plane.drawBase();
      ask();
    }
    if (!done) requestAnimationFrame(some);
  };
  some();
}

// ---- controls ------------------------------------------------------------------------------------

const sliders = [];
function addSliders() {
  for (let i = 0; i < content.latent_dim; i++) {
    const values = content.points.mean.map((mean) => mean[i]);
    const label = document.createElement("label"), top = document.createElement("span");
    const name = document.createElement("span"), value = document.createElement("output");
    const input = document.createElement("input");
    Object.assign(input, { type: "range", step: "0.01", id: `z-${i}` });
    input.min = String(Math.floor(Math.min(-3, ...values)));
    input.max = String(Math.ceil(Math.max(3, ...values)));
    name.textContent = zName(i);
    top.className = "name";
    top.append(name, value);
    label.append(top, input);
    value.setAttribute("aria-hidden", "true");
    input.setAttribute("aria-label", `z ${i + 1}`);
    input.addEventListener("input", () => {
      const z = Float32Array.from(state.z);
      z[i] = Number(input.value);
      moveTo(z, { hold: true });
      if (plane.tiles && !plane.axes.includes(i)) startTiles();
    });
    byId("sliders").append(label);
    sliders.push({
      show(v) {
        if (document.activeElement !== input || Math.abs(Number(input.value) - v) > 0.006) input.value = String(v);
        value.textContent = number(v);
        input.setAttribute("aria-valuetext", number(v));
      },
    });
  }
}

function option(value, text) {
  const found = document.createElement("option");
  found.value = String(value);
  found.textContent = text;
  return found;
}

function addChoices() {
  const dims = content.latent_dim;
  byId("tiles-choice").hidden = dims < 2;
  if (dims > 2) {
    byId("axes").hidden = false;
    [0, 1].forEach((which) => {
      const choice = byId(`axis-${which}`);
      for (let i = 0; i < dims; i++) choice.append(option(i, zName(i)));
      choice.value = String(which);
      choice.addEventListener("change", () => {
        const axes = [...plane.axes], other = axes[1 - which];
        axes[which] = Number(choice.value);
        if (axes[which] === other) axes[1 - which] = plane.axes[which];
        plane.setAxes(axes);
        [0, 1].forEach((k) => (byId(`axis-${k}`).value = String(axes[k])));
        startTiles();
      });
    });
  }
  if (content.classes_y) {
    byId("class-choice").hidden = false;
    for (let y = 0; y < content.classes_y; y++) byId("class").append(option(y, className(y)));
    byId("class").addEventListener("change", () => {
      setClass(Number(byId("class").value));
      if (state.own) showOwn(state.own.source);
    });
  }
  byId("colour-choice").hidden = !content.points.labels;
  byId("colour").options[0].textContent = content.log_prob.name;
  byId("colour").addEventListener("change", () => {
    plane.colour = byId("colour").value;
    showLegend();
    plane.drawBase();
  });
  byId("tiles").addEventListener("change", startTiles);
  byId("next").addEventListener("click", () => visit(state.point + 1));
  byId("previous").addEventListener("click", () => visit(state.point - 1));
}

function showLegend() {
  const legend = byId("legend"), add = (tag, text, className) => {
    const found = document.createElement(tag);
    if (text) found.textContent = text;
    if (className) found.className = className;
    legend.append(found);
    return found;
  };
  legend.replaceChildren();
  if (plane.colour === "label") {
    for (const y of [...new Set(content.points.labels)].sort((a, b) => a - b).slice(0, 20)) {
      const item = add("span", "");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = PALETTE[y % PALETTE.length];
      item.append(swatch, className(y));
    }
  } else {
    add("span", `${content.log_prob.name}:  ${number(plane.range[0], 0)}`);
    add("span", "", "ramp");
    add("span", `${number(plane.range[1], 0)} nats`);
  }
  if (content.prior === "standard_normal" && content.latent_dim > 1)
    add("span", "dashed: 1, 2, 3 standard deviations of p(z)");
}

// ---- an image of one's own -----------------------------------------------------------------------

const blank = (() => {
  let sum = 0, count = 0;
  for (let k = 0; k < Math.min(content.points.number, 50); k++) sum += border(stored(k)), count++;
  return sum / count / content.highest < 0.5 ? 0 : 1; // what images have at their edges
})();

function border(x) {
  let sum = 0, count = 0;
  for (let row = 0; row < HEIGHT; row++)
    for (let column = 0; column < WIDTH; column++)
      if (row % (HEIGHT - 1) === 0 || column % (WIDTH - 1) === 0)
        for (let c = 0; c < CHANNELS; c++) (sum += x[(row * WIDTH + column) * CHANNELS + c]), count++;
  return sum / count;
}

function asSeen(source) {
  return source.map((v) => {
    if (content.threshold) return v > 0.5 ? 1 : 0;
    return content.highest === 1 ? v : Math.round(v * content.highest);
  });
}

function showOwn(source) {
  const x = asSeen(source);
  const posterior = model.encode(x, state.y), at = Float32Array.from(posterior.mean);
  state.own = { source, posterior };
  paint(byId("pad"), x, "your image, as the model sees it");
  byId("pad-caption").textContent = "as the model sees it";
  byId("own-note").textContent = `q(z|x) has its mean at ${zInWords(at)}: the diamond on the plane.`;
  moveTo(at, { announce: true, hold: true });
}

function clearOwn() {
  state.own = null;
  drawing = new Float32Array(SIZE).fill(blank);
  paint(byId("pad"), asSeen(drawing), "a pad to draw an image on");
  byId("pad-caption").textContent = "draw here";
  byId("own-note").textContent = "Drop or paste an image anywhere on the page, and see where the encoder puts it.";
  ask();
}

let drawing = null;
async function take(file) {
  if (!file) return;
  let bitmap;
  try {
    if (file.size > 5e7) throw new Error("too large");
    bitmap = await createImageBitmap(file);
  } catch {
    const text = `${file.name || "That"} could not be read as an image: choose a PNG, JPEG, GIF or WebP file of at most 50 MB.`;
    byId("own-note").textContent = text;
    return say(text);
  }
  drawing = fitted(bitmap);
  if (CHANNELS === 1) {
    const edge = border(drawing);
    byId("invert").checked = Math.abs(edge - blank) > 0.5;
    if (byId("invert").checked) drawing = drawing.map((v) => 1 - v);
  }
  showOwn(drawing);
}

// The middle of a picture at the model's size, halved step by step so that every pixel counts.
function fitted(bitmap) {
  const ratio = Math.min(bitmap.width / WIDTH, bitmap.height / HEIGHT);
  let [w, h] = [WIDTH * ratio, HEIGHT * ratio];
  let [x, y] = [(bitmap.width - w) / 2, (bitmap.height - h) / 2], from = bitmap;
  for (;;) {
    const last = w <= 2 * WIDTH, canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = last ? [WIDTH, HEIGHT] : [Math.ceil(w / 2), Math.ceil(h / 2)];
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(from, x, y, w, h, 0, 0, canvas.width, canvas.height);
    [from, x, y, w, h] = [canvas, 0, 0, canvas.width, canvas.height];
    if (last) return fromPixels(context.getImageData(0, 0, WIDTH, HEIGHT).data);
  }
}

function fromPixels(data) {
  const values = new Float32Array(SIZE);
  for (let i = 0; i < WIDTH * HEIGHT; i++) {
    const [r, g, b] = [data[4 * i] / 255, data[4 * i + 1] / 255, data[4 * i + 2] / 255];
    if (CHANNELS === 3) values.set([r, g, b], 3 * i);
    else values[i] = 0.299 * r + 0.587 * g + 0.114 * b;
  }
  return values;
}

function stroke(event) {
  const box = byId("pad").getBoundingClientRect();
  const column = ((event.clientX - box.left) / box.width) * WIDTH, row = ((event.clientY - box.top) / box.height) * HEIGHT;
  const radius = Math.max(0.8, 0.045 * HEIGHT), reach = Math.ceil(radius + 1);
  for (let r = Math.floor(row) - reach; r <= row + reach; r++)
    for (let c = Math.floor(column) - reach; c <= column + reach; c++) {
      if (r < 0 || c < 0 || r >= HEIGHT || c >= WIDTH) continue;
      const ink = Math.min(Math.max(radius + 0.5 - Math.hypot(r + 0.5 - row, c + 0.5 - column), 0), 1);
      for (let k = 0; k < CHANNELS; k++) {
        const i = (r * WIDTH + c) * CHANNELS + k, away = Math.max(Math.abs(drawing[i] - blank), ink);
        drawing[i] = blank ? 1 - away : away;
      }
    }
  showOwn(drawing);
}

function addOwn() {
  byId("file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = "";
  });
  byId("clear").addEventListener("click", clearOwn);
  byId("invert-choice").hidden = CHANNELS !== 1;
  byId("invert").addEventListener("change", () => {
    drawing = drawing.map((v) => 1 - v);
    if (state.own) showOwn(drawing);
    else paint(byId("pad"), asSeen(drawing));
  });
  const pad = byId("pad");
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    stroke(event);
  });
  pad.addEventListener("pointermove", (event) => event.buttons && event.getCoalescedEvents().concat(event).forEach(stroke));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
  clearOwn();
}

// ---- start ---------------------------------------------------------------------------------------

// How far the page's numbers are from TensorFlow's, which it holds for a few images.
function selfCheck() {
  const decoded = new Float32Array(fromBase64(content.decoded).buffer), n = decoded.length / SIZE;
  let pixels = 0, means = 0;
  for (let k = 0; k < n; k++) {
    const y = content.points.labels ? content.points.labels[k] : 0, z = content.points.mean[k];
    model.decode(z, y).forEach((v, i) => {
      pixels = Math.max(pixels, Math.abs(v - decoded[k * SIZE + i]) / content.highest || 0);
    });
    model.encode(stored(k), y).mean.forEach((v, i) => (means = Math.max(means, Math.abs(v - z[i]) / Math.max(1, Math.abs(z[i])))));
  }
  const right = pixels < 1e-4 && means < 1e-4, text = byId("self-check");
  text.textContent = right
    ? `Checked on opening: on ${n} test images this page's pixels are within ${pixels.toExponential(0)} of TensorFlow's, its means of q(z|x) within ${means.toExponential(0)}.`
    : `Do not trust this page: its pixels differ from TensorFlow's by ${pixels.toPrecision(2)}, its means of q(z|x) by ${means.toPrecision(2)}.`;
  text.classList.toggle("warning", !right);
  return { pixels, means, right };
}

function start() {
  const z = content.latent_dim, shape = content.event_shape.join("×");
  byId("summary").textContent =
    `${content.points.number.toLocaleString("en")} test images of ${content.data} (${shape}), z of ${z} dimension${z > 1 ? "s" : ""}, ` +
    `${content.network} networks, ${content.likelihood.replaceAll("_", " ")} likelihood, ${content.posterior.replace("_", " ")} posterior`;
  byId("method").textContent =
    content.log_prob.note +
    (z > 2 ? " The plane shows two coordinates of z; the points are all test images, whatever their other coordinates." : "") +
    (z === 1 ? " z has one dimension: up and down the points are only spread out." : "");
  if (z > 1) byId("plane-heading").textContent = z > 2 ? "Latent space, two coordinates" : "Latent plane";
  addSliders();
  addChoices();
  showLegend();
  plane.resize();
  plane.drawBase();
  addOwn();
  if (content.classes_y) state.y = content.points.labels[0];
  if (content.classes_y) byId("class").value = String(state.y);
  select(0);
  draw();
  new ResizeObserver(() => {
    plane.resize();
    plane.drawBase();
    ask();
  }).observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    plane.drawBase();
    ask();
  });
  return selfCheck();
}

// For the console: the median time of a decode at test images' means, in milliseconds.
function measure(times = 300) {
  const took = [];
  for (let i = 0; i < times; i++) {
    const begin = performance.now();
    model.decode(content.points.mean[i % content.points.number], state.y);
    took.push(performance.now() - begin);
  }
  return took.sort((a, b) => a - b)[times >> 1];
}

const check = start();
window.explorer = { content, model, plane, state, check, measure };
