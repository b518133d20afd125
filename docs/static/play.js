// Small things to play with inside the lessons: each is a formula of the page, with its sliders.
// numbers(state) computes, in the letters of the page, what nfref computes; draw(pen, state) shows it.
// What has a handle can be dragged; the sliders do the same by the keyboard.
"use strict";

const grid = (low, high, n) => Array.from({ length: n + 1 }, (_, k) => low + (high - low) * k / n);
const normal = (z) => Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
const total = (values) => values.reduce((a, b) => a + b, 0);

// Draws of a standard normal that are the same for everybody: quantiles in a scattered order.
function quantile(p) {
  let low = -8, high = 8;
  for (let k = 0; k < 60; k++) {
    const z = (low + high) / 2;
    if (below(z) < p) low = z; else high = z;
  }
  return (low + high) / 2;
}

// The distribution function of the standard normal, by its series near zero and its fraction far out.
function below(z) {
  const a = Math.abs(z);
  if (a > 3) {
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / (a + fraction);
    const tail = normal(a) / (a + fraction);
    return z > 0 ? 1 - tail : tail;
  }
  let term = a, sum = a;
  for (let k = 1; k < 80; k++) sum += term *= a * a / (2 * k + 1);
  return 0.5 + Math.sign(z) * normal(a) * sum;
}
const scattered = (n, step) => Array.from({ length: n }, (_, k) =>
  quantile(((k * step) % n + 0.5) / n));

// The identity outside of [-3, 3]; knots at -1, 0, 1 as in lesson 06: the middle one can be moved.
function throughKnots(x, height, slope) {
  const xs = [-3, -1, 0, 1, 3], ys = [-3, -1, height, 1, 3], d = [1, 1, slope, 1, 1];
  if (Math.abs(x) >= 3) return [x, 0];
  const k = xs.slice(1, -1).filter((end) => x >= end).length;
  const w = xs[k + 1] - xs[k], h = ys[k + 1] - ys[k], s = h / w, a = (x - xs[k]) / w, b = 1 - a;
  const m = s + (d[k + 1] + d[k] - 2 * s) * a * b;
  return [ys[k] + h * (s * a * a + d[k] * a * b) / m,
    Math.log(s * s * (d[k + 1] * a * a + 2 * s * a * b + d[k] * b * b) / (m * m))];
}

const MIXTURE = { weights: [0.3, 0.7], means: [-2, 1.5], scale: 0.35 };     // lesson 09

// The bumps of x_t = t x_1 + (1 - t) z, and the mean velocity E[x_1 - z | x_t].
function bumpsAt(t, x) {
  const { weights, means, scale } = MIXTURE, variance = (t * scale) ** 2 + (1 - t) ** 2;
  const heights = means.map((m, k) => weights[k]
    * Math.exp(-0.5 * (x - t * m) ** 2 / variance) / Math.sqrt(2 * Math.PI * variance));
  const rate = (t * scale ** 2 - (1 - t)) / variance, sum = total(heights);
  const velocity = total(heights.map((h, k) => h / sum * (means[k] + rate * (x - t * means[k]))));
  return { density: sum, velocity };
}

function pathTo(z, t, steps = 40) {
  const path = [z], h = t / steps, v = (s, x) => bumpsAt(s, x).velocity;
  for (let k = 0, x = z; k < steps; k++) {
    const s = k * h, a = v(s, x), b = v(s + h / 2, x + h / 2 * a), c = v(s + h / 2, x + h / 2 * b);
    path.push(x += h / 6 * (a + 2 * b + 2 * c + v(s + h, x + h * c)));
  }
  return path;
}

const PLAYS = {
  probe: {
    title: "Slide the probe: equal areas",
    sliders: [["z", "z, the place of the probe", -2.5, 2.5, -0.3], ["h", "h, its length", 0.05, 1, 0.3]],
    f: (z) => z + 1.5 * Math.tanh(2 * z + 0.6),
    numbers({ z, h }) {
      const length = this.f(z + h / 2) - this.f(z - h / 2), share = normal(z) * h;
      const slope = 1 + 3 * (1 - Math.tanh(2 * z + 0.6) ** 2);
      return { "x = f(z)": this.f(z), "share of points": share, "length of image": length,
        "density by probe": share / length, "density by formula": normal(z) / slope };
    },
    draw(pen, { z, h }) {
      const box = pen.box([-3, 3], [-4.6, 4.6], "z", "x");
      const probe = grid(z - h / 2, z + h / 2, 20);
      const low = this.f(probe[0]), high = this.f(probe[20]);
      box.area([[probe[0], -4.6], ...probe.map((v) => [v, -4.6 + 6 * normal(v)]), [probe[20], -4.6]]);
      const found = this.numbers({ z, h })["density by probe"];
      box.area([[-3, low], [-3 + 6 * found / 1.5, low], [-3 + 6 * found / 1.5, high], [-3, high]]);
      box.line(grid(-3, 3, 120).map((v) => [v, -4.6 + 6 * normal(v)]), "soft");
      box.line([[probe[0], -4.6], [probe[0], low], [-3, low]], "soft");
      box.line([[probe[20], -4.6], [probe[20], high], [-3, high]], "soft");
      box.line(grid(-3, 3, 200).map((v) => [v, this.f(v)]), "first");
      box.line(probe.map((v) => [v, this.f(v)]), "second", 5);
      box.handle([z, this.f(z)], ([v]) => ({ z: v }));
    },
  },
  fold: {
    title: "Fold the plane",
    sliders: [["wu", "w · u", -3, 3, 0.5]],
    w: [1.2, 0.4], direction: [1, -0.25], b: 0.3,
    map([x, y], wu) {
      const { w, direction, b } = this, a = Math.tanh(w[0] * x + w[1] * y + b);
      const scale = wu / (w[0] * direction[0] + w[1] * direction[1]);
      return [x + scale * direction[0] * a, y + scale * direction[1] * a, 1 + wu * (1 - a * a)];
    },
    numbers({ wu }) {
      return { "determinant at a = 0": 1 + wu, "log |det| there": Math.log(Math.abs(1 + wu)),
        "origins of a point on the fold": wu < -1 ? 3 : 1 };
    },
    draw(pen, { wu }) {
      const box = pen.box([-4.5, 4.5], [-3, 3], "x₁", "x₂"), step = 0.25;
      for (let x = -6; x < 6; x += step) {
        for (let y = -2; y < 2; y += step) {
          const det = this.map([x + step / 2, y + step / 2], wu)[2];
          box.area([[x, y], [x + step, y], [x + step, y + step], [x, y + step]]
            .map((v) => this.map(v, wu)), det < 0 ? "second" : "first", 0.35, true);
        }
      }
    },
  },
  steps: {
    title: "Coupling after coupling",
    sliders: [["layers", "layers so far", 0, 4, 2, 1], ["s", "strength of the scale s", 0, 1, 0.5]],
    layer(k, [x, y], s) {
      const kept = k % 2 ? y : x, moved = k % 2 ? x : y;
      const log = s * Math.tanh(1.5 * kept), out = moved * Math.exp(log) + Math.sin(1.6 * kept);
      return k % 2 ? [[out, y], log] : [[x, out], log];
    },
    through(z, layers, s) {
      let point = z, logDet = 0;
      for (let k = 0; k < layers; k++) {
        const [next, log] = this.layer(k, point, s);
        point = next;
        logDet += log;
      }
      return [point, logDet];
    },
    numbers({ layers, s }) {
      const [[x, y], logDet] = this.through([0.5, -1], layers, s);
      return { "x₁ of z = (0.5, −1)": x, "x₂": y, "log |det|": logDet };
    },
    draw(pen, { layers, s }) {
      const box = pen.box([-4.5, 4.5], [-4.5, 4.5], "x₁", "x₂"), n = 600;
      const first = scattered(n, 1), second = scattered(n, 233);
      first.forEach((x, k) => {
        const name = ["first", "second", "third", "fourth"][2 * (x > 0) + (second[k] > 0)];
        box.dot(this.through([x, second[k]], layers, s)[0], name, 2);
      });
      box.dot(this.through([0.5, -1], layers, s)[0], "ink", 5);
    },
  },
  knots: {
    title: "Drag the middle knot, and the end of its tangent",
    sliders: [["height", "its height", -0.9, 0.9, 0.4], ["slope", "its slope", 0.1, 4, 1]],
    numbers({ height, slope }) {
      const [z, log] = throughKnots(-0.5, height, slope);
      return { "g(−0.5)": z, "density at x = −0.5": normal(z) * Math.exp(log),
        "mass in (−1, 0)": below(height) - below(-1), "mass in (0, 1)": below(1) - below(height) };
    },
    draw(pen, { height, slope }) {
      const line = grid(-3.5, 3.5, 350);
      const above = pen.box([-3.5, 3.5], [-3.5, 3.5], "x", "z = g(x)", 0, 0.55);
      above.line(line.map((x) => [x, throughKnots(x, height, slope)[0]]), "first");
      [[-3, -3], [-1, -1], [1, 1], [3, 3]].forEach((knot) => above.dot(knot, "first", 4));
      above.line([[0, height], [0.6, height + 0.6 * slope]], "second", 1);
      above.handle([0, height], ([, y]) => ({ height: y }));
      above.handle([0.6, height + 0.6 * slope], ([, y]) => ({ slope: (y - height) / 0.6 }));
      const under = pen.box([-3.5, 3.5], [0, 1.4], "x", "density", 0.6, 0.4);
      under.area([[-3.5, 0], ...line.map((x) => {
        const [z, log] = throughKnots(x, height, slope);
        return [x, normal(z) * Math.exp(log)];
      }), [3.5, 0]], "first", 0.5);
    },
  },
  cobweb: {
    title: "Walk to the fixed point",
    sliders: [["L", "L, the largest slope of g", 0.1, 1.6, 0.8], ["start", "first guess", -1.2, 2.2, 0.9]],
    walk({ L, start }, steps = 60) {
      const guesses = [start];
      for (let k = 0; k < steps; k++) guesses.push(0.9 - L * Math.sin(guesses[k]));
      return guesses;
    },
    numbers(state) {
      const guesses = this.walk(state);
      return { "guess after 5 steps": guesses[5], "after 60": guesses[60],
        "last change": Math.abs(guesses[60] - guesses[59]) };
    },
    draw(pen, state) {
      const box = pen.box([-1.2, 2.2], [-1.2, 2.2], "guess x", "next guess z − g(x)");
      box.line([[-1.2, -1.2], [2.2, 2.2]], "soft");
      box.line(grid(-1.2, 2.2, 120).map((x) => [x, 0.9 - state.L * Math.sin(x)]), "first");
      const guesses = this.walk(state), path = [[guesses[0], guesses[1]]];
      for (let k = 1; k < 60; k++) path.push([guesses[k], guesses[k]], [guesses[k], guesses[k + 1]]);
      box.line(path, "second", 1.2);
      box.handle(path[0], ([x]) => ({ start: x }));
    },
  },
  paths: {
    title: "Paths over t",
    sliders: [["t", "t", 0, 1, 0.6], ["z", "z, where one of them starts", -2.5, 2.5, -0.2]],
    numbers({ t, z }) {
      const path = pathTo(z, t), x = path[path.length - 1];
      const { density, velocity } = bumpsAt(t, x);
      return { "x(t)": x, "velocity there": velocity, "density of x(t)": density };
    },
    draw(pen, { t, z }) {
      const box = pen.box([0, 1], [-3.2, 3.2], "t", "x", 0, 1, 0.72);
      for (const start of scattered(40, 1)) {
        box.line(pathTo(start, t).map((x, k) => [t * k / 40, x]), "soft", 1);
      }
      box.line(pathTo(z, t).map((x, k) => [t * k / 40, x]), "second", 3);
      box.handle([0, z], ([, x]) => ({ z: x }));
      const beside = pen.box([0, 0.9], [-3.2, 3.2], "density", "", 0, 1, 0.25, 0.75);
      beside.area([[0, -3.2], ...grid(-3.2, 3.2, 160).map((x) => [bumpsAt(t, x).density, x]),
        [0, 3.2]], "first", 0.5);
    },
  },
  weights: {
    title: "Weigh the draws",
    sliders: [["m", "mean of q", -4, 4, 1], ["s", "deviation of q", 0.5, 4, 2]],
    draws: null,
    log_p: (x) => Math.log(0.5 * normal(x - 2) + 0.5 * normal(x + 2)),
    found({ m, s }) {
      this.draws ??= scattered(200, 1);
      const x = this.draws.map((z) => m + s * z);
      return { x, w: x.map((v) => Math.exp(this.log_p(v)) * s / normal((v - m) / s)) };
    },
    numbers(state) {
      const { w } = this.found(state), sum = total(w);
      return { "effective number of 200 samples": sum * sum / total(w.map((v) => v * v)),
        "log Z by the weights (true: 0)": Math.log(sum / 200) };
    },
    draw(pen, state) {
      const box = pen.box([-8, 8], [0, 0.5], "x", "density"), { x, w } = this.found(state);
      const line = grid(-8, 8, 320);
      box.area([[-8, 0], ...line.map((v) => [v, Math.exp(this.log_p(v))]), [8, 0]], "first", 0.4);
      box.line(line.map((v) => [v, normal((v - state.m) / state.s) / state.s]), "second");
      box.handle([state.m, normal(0) / state.s], ([v]) => ({ m: v }));
      const largest = Math.max(...w);
      x.forEach((v, k) => box.line([[v, 0], [v, 0.2 * w[k] / largest]], "ink", 1));
    },
  },
};

// The page around them -------------------------------------------------------------------------

const WIDTH = 640, HEIGHT = 400, MARGIN = 34;

function svg(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

// What draws in the units of its axes: from ``top``, ``tall`` of the height, and so across.
function penOf(picture) {
  return { box([x0, x1], [y0, y1], across, up, top = 0, tall = 1, wide = 1, left = 0) {
    const px = WIDTH * left + MARGIN, pw = WIDTH * wide - MARGIN - 8;
    const py = HEIGHT * top + 8, ph = HEIGHT * tall - MARGIN - 8;
    const at = ([x, y]) => [px + pw * (x - x0) / (x1 - x0), py + ph * (y1 - y) / (y1 - y0)];
    const clip = `clip${Math.random().toString(36).slice(2)}`;
    svg("rect", { x: px, y: py, width: pw, height: ph }, svg("clipPath", { id: clip }, picture));
    const inside = svg("g", { "clip-path": `url(#${clip})` }, picture);
    svg("rect", { x: px, y: py, width: pw, height: ph, class: "frame" }, picture);
    const write = (text, x, y, anchor) => {
      svg("text", { x, y, "text-anchor": anchor }, picture).textContent = text;
    };
    write(across, px + pw, py + ph + 28, "end");
    write(up, px + 6, py + 16, "start");
    for (const v of [x0, (x0 + x1) / 2, x1]) {
      write(String(Number(v.toFixed(2))).replace("-", "−"), at([v, 0])[0], py + ph + 15, "middle");
    }
    for (const v of [y0, y1]) {
      write(String(Number(v.toFixed(2))).replace("-", "−"), px - 4, at([0, v])[1] + (v === y1 ? 10 : 0), "end");
    }
    const list = (points) => points.map((v) => at(v).map((c) => c.toFixed(1)).join()).join(" ");
    return {
      line: (points, name = "ink", width = 2) => svg("polyline",
        { points: list(points), class: `line ${name}`, "stroke-width": width }, inside),
      area: (points, name = "second", opacity = 0.5, edge = false) => svg("polygon",
        { points: list(points), class: `area ${name}${edge ? " edge" : ""}`, "fill-opacity": opacity }, inside),
      dot: (point, name, r) => svg("circle",
        { cx: at(point)[0], cy: at(point)[1], r, class: `area ${name}` }, inside),
      // A dot to drag; ``moved`` says what a new place of it does to the state.
      handle(point, moved) {
        const [cx, cy] = at(point);
        svg("circle", { cx, cy, r: 7, class: "area second" }, picture);
        svg("circle", { cx, cy, r: 20, class: "handle" }, picture).moved = ([x, y]) =>
          moved([x0 + (x - px) / pw * (x1 - x0), y1 - (y - py) / ph * (y1 - y0)]);
      },
    };
  } };
}

function play(figure) {
  const one = PLAYS[figure.dataset.play];
  const state = Object.fromEntries(one.sliders.map(([key, , , , value]) => [key, value]));
  const caption = document.createElement("figcaption");
  caption.textContent = `To play with. ${one.title}.`;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${one.title}; the numbers below say what it shows` });
  const numbers = document.createElement("dl");
  numbers.setAttribute("aria-live", "polite");
  const draw = () => {
    picture.replaceChildren();
    one.draw(penOf(picture), state);
    numbers.replaceChildren(...Object.entries(one.numbers(state)).map(([name, value]) => {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }),
        Object.assign(document.createElement("dd"),
          { textContent: String(Number(value.toPrecision(4))).replace("-", "−") }));
      return row;
    }));
  };
  const inputs = {};
  const sliders = one.sliders.map(([key, label, low, high, value, step = 0.01]) => {
    const row = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "range", min: low, max: high, step, value });
    const shown = Object.assign(document.createElement("span"), { textContent: value });
    input.addEventListener("input", () => {
      state[key] = Number(input.value);
      shown.textContent = input.value;
      draw();
    });
    row.append(`${label}: `, shown, input);
    inputs[key] = input;
    return row;
  });
  let moved = null;
  picture.addEventListener("pointerdown", (event) => {
    moved = event.target.moved ?? null;
    if (moved) picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!moved) return;
    const box = picture.getBoundingClientRect();
    const place = [(event.clientX - box.left) / box.width * WIDTH, (event.clientY - box.top) / box.height * HEIGHT];
    for (const [key, value] of Object.entries(moved(place))) {
      inputs[key].value = value;   // the slider keeps it in its range
      inputs[key].dispatchEvent(new Event("input"));
    }
  });
  picture.addEventListener("pointerup", () => { moved = null; });
  figure.replaceChildren(caption, picture, ...sliders, numbers);
  draw();
}

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", () =>
    document.querySelectorAll("figure.play").forEach(play));
}
