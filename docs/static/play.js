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
  likely: {
    title: "Drag the row: two terms of its log-density",
    sliders: [["x", "x, the row", -4, 6, 2.5], ["s", "s, the stretch: x = 1 + s z", 0.3, 3, 1.5]],
    numbers({ x, s }) {
      const z = (x - 1) / s;
      return { "z": z, "log density of z": Math.log(normal(z)), "− log s": -Math.log(s),
        "log density of x": Math.log(normal(z)) - Math.log(s) };
    },
    draw(pen, { x, s }) {
      const box = pen.box([-4, 6], [0, 1.4], "z and x", "density"), line = grid(-4, 6, 240);
      box.line(line.map((v) => [v, normal(v)]), "soft");
      box.area([[-4, 0], ...line.map((v) => [v, normal((v - 1) / s) / s]), [6, 0]], "first", 0.4);
      const z = (x - 1) / s;
      box.line([[z, 0], [z, normal(z)], [x, normal(z) / s], [x, 0]], "ink", 1);
      box.handle([x, normal(z) / s], ([v]) => ({ x: v }));
    },
  },
  mix: {
    title: "Drag a corner: a matrix from its LU form",
    sliders: [["a", "first number on the diagonal of U", 0.2, 2.5, 1.2],
      ["l", "number below the diagonal of L", -1.5, 1.5, 0.5],
      ["b", "second number on the diagonal of U", -2, 2, 0.8],
      ["u", "number above the diagonal of U", -1.5, 1.5, 0.6]],
    matrix: ({ a, l, b, u }) => [[a, u], [l * a, l * u + b]],
    numbers(state) {
      const [[p, q], [r, t]] = this.matrix(state);
      return { "p t − q r": p * t - q * r, "a b": state.a * state.b,
        "log |det|": Math.log(Math.abs(state.a * state.b)) };
    },
    draw(pen, state) {
      const box = pen.box([-3, 5], [-3, 3], "x₁", "x₂"), [[p, q], [r, t]] = this.matrix(state);
      box.area([[0, 0], [1, 0], [1, 1], [0, 1]], "first", 0.25, true);
      box.area([[0, 0], [p, r], [p + q, r + t], [q, t]], "second", 0.4, true);
      box.handle([p, r], ([x, y]) => ({ a: x, l: y / Math.max(x, 0.2) }));
      box.handle([q, t], ([x, y]) => ({ u: x, b: y - state.l * x }));
    },
  },
  pair: {
    title: "Drag the point: one number after the other",
    sliders: [["first", "x₁", -2.5, 2.5, 1], ["second", "x₂", -2.5, 4, 0.5]],
    rule: (x) => [0.7 * x * x - 1, Math.exp(0.3 * x)],       // mean and deviation of x₂ given x₁
    numbers({ first, second }) {
      const [mean, deviation] = this.rule(first), z = (second - mean) / deviation;
      return { "z₁": first, "z₂": z, "density of x₁": normal(first),
        "density of x₂ given x₁": normal(z) / deviation,
        "density of both": normal(first) * normal(z) / deviation };
    },
    draw(pen, { first, second }) {
      const box = pen.box([-2.5, 2.5], [-2.5, 4], "x₁", "x₂", 0, 1, 0.7);
      const one = scattered(600, 1), two = scattered(600, 233), [mean, deviation] = this.rule(first);
      one.forEach((z, k) => {
        const [m, s] = this.rule(z);
        box.dot([z, m + s * two[k]], "first", 2);
      });
      box.line([[first, -2.5], [first, 4]], "soft");
      box.handle([first, second], ([x, y]) => ({ first: x, second: y }));
      const beside = pen.box([0, 0.9], [-2.5, 4], "density", "", 0, 1, 0.27, 0.73);
      beside.area([[0, -2.5], ...grid(-2.5, 4, 120).map((y) =>
        [normal((y - mean) / deviation) / deviation, y]), [0, 4]], "second", 0.4);
    },
  },
  carry: {
    title: "Carry an area along dx/dt = A x",
    sliders: [["a", "A₁₁", -1, 1, 0.6], ["d", "A₂₂", -1, 1, -0.3], ["turn", "A₂₁ = −A₁₂", -3, 3, 1],
      ["t", "t", 0, 1.5, 0.8], ["x", "x₁ of the square", -1, 1, 0.6], ["y", "x₂ of it", -1, 1, 0.3]],
    carried({ a, d, turn, t }, start) {
      let [x, y] = start;
      const rate = ([p, q]) => [a * p - turn * q, turn * p + d * q], h = t / 60;
      for (let k = 0; k < 60; k++) {
        const one = rate([x, y]), two = rate([x + h / 2 * one[0], y + h / 2 * one[1]]);
        const three = rate([x + h / 2 * two[0], y + h / 2 * two[1]]);
        const four = rate([x + h * three[0], y + h * three[1]]);
        x += h / 6 * (one[0] + 2 * two[0] + 2 * three[0] + four[0]);
        y += h / 6 * (one[1] + 2 * two[1] + 2 * three[1] + four[1]);
      }
      return [x, y];
    },
    corners: ({ x, y }) => [[x, y], [x + 0.6, y], [x + 0.6, y + 0.6], [x, y + 0.6]],
    numbers(state) {
      const there = this.corners(state).map((corner) => this.carried(state, corner));
      const area = Math.abs(total(there.map(([x, y], k) => {
        const [p, q] = there[(k + 1) % 4];
        return (x * q - p * y) / 2;
      })));
      return { "trace of A": state.a + state.d, "log of the area's factor": Math.log(area / 0.36),
        "t times the trace": state.t * (state.a + state.d) };
    },
    draw(pen, state) {
      const box = pen.box([-4, 4], [-2.5, 2.5], "x₁", "x₂"), corners = this.corners(state);
      for (const corner of corners) {
        box.line(grid(0, state.t, 30).map((t) => this.carried({ ...state, t }, corner)), "soft", 1);
      }
      box.area(corners, "first", 0.3, true);
      box.area(corners.map((corner) => this.carried(state, corner)), "second", 0.4, true);
      box.handle(corners[0], ([x, y]) => ({ x, y }));
    },
  },
  bend: {
    title: "Drag the path: what its bend costs",
    sliders: [["b", "b, the bend", -1.5, 1.5, 0.8], ["n", "Euler steps", 1, 16, 2, 1]],
    path: (b, t) => [2 * t, b * Math.sin(Math.PI * t)],
    steps({ b, n }) {
      const there = [[0, 0]];
      for (let k = 0; k < n; k++) {
        const [x, y] = there[k];
        there.push([x + 2 / n, y + b * Math.PI * Math.cos(Math.PI * k / n) / n]);
      }
      return there;
    },
    numbers(state) {
      const [, y] = this.steps(state)[state.n];
      return { "S, the cost beyond the line": (state.b * Math.PI) ** 2 / 2,
        "Euler ends off by": Math.abs(y) };
    },
    draw(pen, state) {
      const box = pen.box([-0.2, 2.3], [-2, 5], "x₁", "x₂"), line = grid(0, 1, 80);
      box.line([[0, 0], [2, 0]], "soft");
      box.line(line.map((t) => this.path(state.b, t)), "first");
      const steps = this.steps(state);
      box.line(steps, "second", 1.5);
      steps.forEach((point) => box.dot(point, "second", 3));
      box.handle([1, state.b], ([, y]) => ({ b: y }));
    },
  },
  gap: {
    title: "Drag the end of the gap: points that stay between the heaps",
    sliders: [["w", "w, how steep the middle is", 0.5, 16, 2], ["g", "g, half of the gap", 0.3, 2.5, 1.5]],
    f: (z, w) => 0.4 * (z + 7.5 * Math.tanh(w * z)),
    numbers({ w, g }) {
      let low = 0, high = 8;
      for (let k = 0; k < 60; k++) {
        const z = (low + high) / 2;
        if (this.f(z, w) < g) low = z; else high = z;
      }
      const L = 0.4 * (1 + 7.5 * w);
      return { "L, the largest slope": L, "mass in the gap": 2 * below(low) - 1,
        "its bound": 2 * below(g / L) - 1 };
    },
    draw(pen, { w, g }) {
      const left = pen.box([-2.5, 2.5], [-4, 4], "z", "x = f(z)", 0, 1, 0.5), line = grid(-2.5, 2.5, 400);
      left.area([[-2.5, -g], [2.5, -g], [2.5, g], [-2.5, g]], "second", 0.2);
      left.line(line.map((z) => [z, this.f(z, w)]), "first");
      left.handle([2, g], ([, y]) => ({ g: y }));
      const right = pen.box([0, 0.6], [-4, 4], "density", "", 0, 1, 0.47, 0.53);
      right.area([[0, -4], ...grid(-2.5, 2.5, 2000).map((z) =>
        [normal(z) / (0.4 * (1 + 7.5 * w / Math.cosh(w * z) ** 2)), this.f(z, w)]), [0, 4]], "first", 0.5);
    },
  },
  unit: {
    title: "Change the unit: drag the row",
    sliders: [["x", "x in metres", -2, 3, 0.8], ["c", "c, units a metre", 0.3, 4, 3.28]],
    numbers({ x, c }) {
      const metres = Math.log(normal(x)), units = Math.log(normal(x) / c);
      return { "log density a metre": metres, "log density a unit": units,
        "bits between them": (metres - units) / Math.log(2), "bits of c": Math.log2(c) };
    },
    draw(pen, { x, c }) {
      const above = pen.box([-8, 12], [0, 1.4], "x in metres", "a metre", 0, 0.5);
      const under = pen.box([-8, 12], [0, 1.4], "x in units", "a unit", 0.5, 0.5);
      const line = grid(-4, 4, 160);
      above.area([[-4, 0], ...line.map((v) => [v, normal(v)]), [4, 0]], "first", 0.4);
      under.area([[-4 * c, 0], ...line.map((v) => [c * v, normal(v) / c]), [4 * c, 0]], "second", 0.4);
      under.line([[c * x, 0], [c * x, normal(x) / c]], "ink");
      above.line([[x, 0], [x, normal(x)]], "ink");
      above.handle([x, normal(x)], ([v]) => ({ x: v }));
    },
  },
  given: {
    title: "Drag x: the density of y given x",
    sliders: [["x", "x, which is known", -2, 2, 0.5], ["y", "y", -4, 4, 1]],
    rule: (x) => [Math.sin(2 * x), 0.2 + 0.5 * (x + 2)],
    numbers({ x, y }) {
      const [middle, spread] = this.rule(x), z = (y - middle) / spread;
      return { "z": z, "density of y given x": normal(z) / spread, "PIT": below(z) };
    },
    draw(pen, { x, y }) {
      const box = pen.box([-2, 2], [-4, 4], "x", "y", 0, 1, 0.7), line = grid(-2, 2, 100);
      for (const [z, name] of [[-2, "soft"], [0, "first"], [2, "soft"]]) {
        box.line(line.map((v) => [v, this.rule(v)[0] + z * this.rule(v)[1]]), name);
      }
      box.line([[x, -4], [x, 4]], "soft", 1);
      box.handle([x, y], ([u, v]) => ({ x: u, y: v }));
      const beside = pen.box([0, 1.5], [-4, 4], "density", "", 0, 1, 0.27, 0.73);
      const [middle, spread] = this.rule(x);
      beside.area([[0, -4], ...grid(-4, 4, 160).map((v) => [normal((v - middle) / spread) / spread, v]),
        [0, 4]], "second", 0.4);
    },
  },
  split: {
    title: "Drag the model: a loss is entropy and divergence",
    sliders: [["m", "mean of the model", -2.5, 2.5, 0.8], ["s", "deviation of the model", 0.4, 3, 1.4]],
    numbers({ m, s }) {
      const entropy = 0.5 * Math.log(2 * Math.PI * Math.E);
      const divergence = Math.log(s) + (1 + m * m) / (2 * s * s) - 0.5;
      return { "entropy of the truth": entropy, "divergence": divergence, "loss": entropy + divergence };
    },
    draw(pen, { m, s }) {
      const box = pen.box([-4, 4], [0, 1.1], "x", "density"), line = grid(-4, 4, 200);
      box.area([[-4, 0], ...line.map((v) => [v, normal(v)]), [4, 0]], "first", 0.4);
      box.line(line.map((v) => [v, normal((v - m) / s) / s]), "second");
      box.handle([m, normal(0) / s], ([x, y]) => ({ m: x, s: normal(0) / Math.max(y, 0.1) }));
    },
  },
  wrong: {
    title: "Make a mistake: log-determinants times k",
    sliders: [["s", "s, the stretch: x = s z", 0.3, 3, 2], ["k", "k, which should be 1", -1, 2, 0]],
    numbers({ s, k }) {
      return { "round trip, off by": 0, "sum of both log-determinants": 0,
        "mean log density of samples": Math.log(normal(0)) - 0.5 - k * Math.log(s),
        "integral of the density": s ** (1 - k) };
    },
    draw(pen, { s, k }) {
      const box = pen.box([-6, 6], [0, 1.5], "x", "density"), line = grid(-6, 6, 240);
      box.line(line.map((v) => [v, normal(v / s) / s]), "first");
      box.area([[-6, 0], ...line.map((v) => [v, normal(v / s) * s ** -k]), [6, 0]], "second", 0.4);
      box.handle([s, normal(1) * s ** -k], ([x]) => ({ s: Math.abs(x) }));
    },
  },
  bits: {
    title: "Drag a bump: bits of whole numbers, without noise and with it",
    sliders: [["s", "s, the width of the bumps", 0.02, 1, 0.3]],
    weights: [0.5, 0.2, 0.15, 0.1, 0.05],
    density(x, s) { return total(this.weights.map((w, k) => w * normal((x - k - 0.5) / s) / s)); },
    numbers({ s }) {
      const mean = (f) => -total(this.weights.map((w, k) => w * f(k)));
      const noisy = (k) => total(grid(0.0025, 0.9975, 199).map((u) => Math.log2(this.density(k + u, s)))) / 200;
      return { "bits of the numbers as they are": mean((k) => Math.log2(this.density(k + 0.5, s))),
        "bits with uniform noise": mean(noisy),
        "entropy of the numbers": mean((k) => Math.log2(this.weights[k])) };
    },
    draw(pen, { s }) {
      const box = pen.box([-0.5, 5.5], [0, 2], "pixel and its noise", "density");
      this.weights.forEach((w, k) => box.area([[k, 0], [k, w], [k + 1, w], [k + 1, 0]], "second", 0.3, true));
      box.line(grid(-0.5, 5.5, 600).map((x) => [x, this.density(x, s)]), "first");
      box.handle([0.5 + s, this.density(0.5 + s, s)], ([x]) => ({ s: x - 0.5 }));
    },
  },
  walk: {
    title: "Noise on the way",
    sliders: [["c", "c: noise g² = 2 c (1 − t)", 0, 4, 1], ["z", "z, where one of them starts", -2.5, 2.5, 0.5],
      ["t", "t", 0, 0.99, 0.5]],
    noise: null,
    drift(t, x, c) {
      const f = bumpsAt(t, x).velocity;
      return f - c * (x - t * f);         // the score is −(x − t f) / (1 − t): lesson 18, exercise 2
    },
    path({ c }, start, row) {
      this.noise ??= grid(1, 4000, 3999).map((k) => quantile(Math.abs(Math.sin(12.9898 * k) * 43758.5453) % 1));
      const there = [start], h = 1 / 100;
      for (let k = 0; k < 100; k++) {
        const t = k * h, x = there[k], e = this.noise[(row * 100 + k) % 4000];
        there.push(x + h * this.drift(t, x, c) + Math.sqrt(2 * c * (1 - t) * h) * e);
      }
      return there;
    },
    numbers({ c, z, t }) {
      const f = bumpsAt(t, z).velocity;
      return { "velocity at (t, z)": f, "score there": -(z - t * f) / (1 - t),
        "drift of the walk there": this.drift(t, z, c) };
    },
    draw(pen, state) {
      const box = pen.box([0, 1], [-3.2, 3.2], "t", "x", 0, 1, 0.72);
      scattered(40, 1).forEach((start, row) => box.line(
        this.path(state, start, row).map((x, k) => [k / 100, x]), "soft", 1));
      box.line(this.path(state, state.z, 7).map((x, k) => [k / 100, x]), "second", 2);
      box.handle([0, state.z], ([, x]) => ({ z: x }));
      const beside = pen.box([0, 0.9], [-3.2, 3.2], "density at t = 1", "", 0, 1, 0.25, 0.75);
      beside.area([[0, -3.2], ...grid(-3.2, 3.2, 160).map((x) => [bumpsAt(1, x).density, x]),
        [0, 3.2]], "first", 0.5);
    },
  },
  guide: {
    title: "Guide to the upper heap",
    sliders: [["w", "w, the guidance", 0, 4, 1], ["z", "z, where a path starts", -2.5, 2.5, -0.8]],
    velocity(t, x, w) {
      const all = bumpsAt(t, x).velocity, { means, scale } = MIXTURE, v = (t * scale) ** 2 + (1 - t) ** 2;
      const own = means[1] + (x - t * means[1]) * (t * scale ** 2 - (1 - t)) / v;
      return all + w * (own - all);
    },
    path({ w }, z) {
      const there = [z], h = 1 / 80;
      for (let k = 0; k < 80; k++) {
        const t = k * h, x = there[k], a = this.velocity(t, x, w);
        const b = this.velocity(t + h / 2, x + h / 2 * a, w), c = this.velocity(t + h / 2, x + h / 2 * b, w);
        there.push(x + h / 6 * (a + 2 * b + 2 * c + this.velocity(t + h, x + h * c, w)));
      }
      return there;
    },
    numbers(state) {
      return { "velocity at t = 0.5, x = 0": this.velocity(0.5, 0, state.w),
        "end of the path": this.path(state, state.z)[80] };
    },
    draw(pen, state) {
      const box = pen.box([0, 1], [-3.2, 3.2], "t", "x", 0, 1, 0.72);
      for (const start of scattered(40, 1)) {
        box.line(this.path(state, start).map((x, k) => [k / 80, x]), "soft", 1);
      }
      box.line(this.path(state, state.z).map((x, k) => [k / 80, x]), "second", 3);
      box.handle([0, state.z], ([, x]) => ({ z: x }));
      const beside = pen.box([0, 0.9], [-3.2, 3.2], "density of all", "", 0, 1, 0.25, 0.75);
      beside.area([[0, -3.2], ...grid(-3.2, 3.2, 160).map((x) => [bumpsAt(1, x).density, x]),
        [0, 3.2]], "first", 0.5);
    },
  },
  mean: {
    title: "Drag the ends: velocity and mean velocity",
    sliders: [["t", "t, where the interval begins", 0, 0.9, 0.1, 0.001], ["d", "d, its length", 0.02, 1, 0.7, 0.001],
      ["z", "z, where the path starts", -2.5, 2.5, 0.4]],
    ends({ t, d, z }) {
      const e = Math.min(t + d, 1), last = (path) => path[path.length - 1];
      return [t, last(pathTo(z, t)), e, last(pathTo(z, e, 80))];
    },
    numbers(state) {
      const [t, x, e, y] = this.ends(state);
      return { "velocity at the start": bumpsAt(t, x).velocity, "mean velocity": (y - x) / (e - t),
        "Euler's step ends off by": Math.abs(x + (e - t) * bumpsAt(t, x).velocity - y) };
    },
    draw(pen, state) {
      const box = pen.box([0, 1], [-3.2, 3.2], "t", "x"), [t, x, e, y] = this.ends(state);
      box.line(pathTo(state.z, 1).map((v, k) => [k / 40, v]), "first");
      box.line([[t, x], [e, y]], "ink");
      box.line([[t, x], [e, x + (e - t) * bumpsAt(t, x).velocity]], "second", 1.5);
      box.handle([0, state.z], ([, v]) => ({ z: v }));
      box.handle([t, x], ([v]) => ({ t: v }));
      box.handle([e, y], ([v]) => ({ d: v - t }));
    },
  },
  blend: {
    title: "Drag one of two densities: the cost of their mean",
    sliders: [["m", "mean of the second", -2, 4, 1.5], ["x", "x, a row", -3, 5, 0.5]],
    numbers({ m, x }) {
      const one = normal(x), two = normal((x - m) / 0.7) / 0.7;
      return { "cost under the first": -Math.log(one), "under the second": -Math.log(two),
        "mean of both costs": -(Math.log(one) + Math.log(two)) / 2,
        "cost under the mean density": -Math.log((one + two) / 2) };
    },
    draw(pen, { m, x }) {
      const box = pen.box([-3, 5], [0, 0.7], "x", "density"), line = grid(-3, 5, 240);
      const two = (v) => normal((v - m) / 0.7) / 0.7;
      box.area([[-3, 0], ...line.map((v) => [v, (normal(v) + two(v)) / 2]), [5, 0]], "first", 0.4);
      box.line(line.map((v) => [v, normal(v)]), "soft");
      box.line(line.map((v) => [v, two(v)]), "second");
      box.line([[x, 0], [x, 0.7]], "ink", 1);
      box.handle([m, two(m)], ([v]) => ({ m: v }));
      box.handle([x, 0.1], ([v]) => ({ x: v }));
    },
  },
  grow: {
    title: "Grow space about a centre",
    sliders: [["c", "c, the centre", -2, 2, 0.5], ["beta", "β", -0.5, 1.5, 0.6], ["alpha", "α, the radius", 0.2, 2, 0.8]],
    map(z, { c, beta, alpha }) {
      const r = z - c, erf = 2 * below(Math.SQRT2 * r / alpha) - 1;
      return [z + beta * erf, 1 + beta * 2 / (Math.sqrt(Math.PI) * alpha) * Math.exp(-((r / alpha) ** 2))];
    },
    numbers(state) {
      const [value, slope] = this.map(0, state);
      return { "g(0)": value, "g′(0)": slope, "g′ at the centre": this.map(state.c, state)[1] };
    },
    draw(pen, state) {
      const box = pen.box([-3, 3], [-4, 4], "z", "g(z)"), line = grid(-3, 3, 200);
      box.line([[-3, -3], [3, 3]], "soft");
      box.line(line.map((z) => [z, this.map(z, state)[0]]), "first");
      box.handle([state.c, state.c], ([z]) => ({ c: z }));
    },
  },
  almost: {
    title: "Drag the decoder away from the inverse",
    sliders: [["a", "a: encoder z = a x", 0.3, 2.5, 1.25], ["b", "b: decoder x = b z", 0.2, 3, 1]],
    numbers({ a, b }) {
      return { "slope of log |det| by a: 1 / a": 1 / a, "its stand-in: b": b,
        "round trip of x = 1, off by": Math.abs(1 - a * b) };
    },
    draw(pen, { a, b }) {
      const box = pen.box([-2, 2], [-3, 3], "x", "z"), line = [-2, 2];
      box.line(line.map((x) => [x, a * x]), "first");
      box.line([-3, 3].map((z) => [b * z, z]), "second");
      box.line([[1, 0], [1, a], [a * b, a]], "ink", 1);
      box.handle([a * b, a], ([x]) => ({ b: x / a }));
      box.handle([1, a], ([, z]) => ({ a: z }));
    },
  },
  lost: {
    title: "Drag the scale: what the way back loses",
    sliders: [["s", "s: a layer scales by eˢ", 0, 5, 1.5], ["n", "n, layers that scale the coordinate", 1, 10, 5, 1]],
    numbers({ s, n }) {
      const stretch = Math.exp(n * s);
      return { "stretch of all layers": stretch, "error in float32": 6e-8 * stretch,
        "error in float64": 1.1e-16 * stretch };
    },
    draw(pen, { s, n }) {
      const box = pen.box([0, 5], [-16, 16], "s", "log₁₀ of the error");
      const line = (epsilon) => [0, 5].map((v) => [v, Math.log10(epsilon) + n * v / Math.LN10]);
      box.line([[0, 0], [5, 0]], "soft");
      box.line(line(6e-8), "first");
      box.line(line(1.1e-16), "second");
      box.line([[s, -16], [s, 16]], "ink", 1);
      box.handle([s, Math.log10(6e-8) + n * s / Math.LN10], ([v]) => ({ s: v }));
    },
  },
  aside: {
    title: "Drag a point aside: a line is mirrored, and no points meet",
    sliders: [["a", "angle of the turn in degrees", 0, 180, 60, 1], ["x", "x, a point of the line", -2, 2, 1.2]],
    numbers({ a, x }) {
      const turn = a * Math.PI / 180;
      return { "where x is now": x * Math.cos(turn), "its e": x * Math.sin(turn),
        "distance from the point of −x": 2 * Math.abs(x) };
    },
    draw(pen, { a, x }) {
      const box = pen.box([-3.4, 3.4], [-2.1, 2.1], "x", "e"), turn = a * Math.PI / 180;
      const at = (v) => [v * Math.cos(turn), v * Math.sin(turn)], side = x < 0 ? -1 : 1;
      box.line([[-3.4, 0], [3.4, 0]], "soft");
      grid(-2, 2, 20).forEach((v) => box.dot(at(v), v < 0 ? "second" : "first", 4));
      box.line([at(x), [x * Math.cos(turn), 0]], "ink", 1);
      box.handle(at(x), ([p, q]) => ({ a: Math.atan2(side * q, side * p) * 180 / Math.PI, x: side * Math.hypot(p, q) }));
    },
  },
  circle: {
    title: "Drag w: a Moebius map of the circle",
    sliders: [["u", "w, across", -0.85, 0.85, 0.4], ["v", "w, upwards", -0.85, 0.85, 0.3],
      ["angle", "angle of z", -3.14, 3.14, 1]],
    map(angle, { u, v }) {
      const shrink = Math.min(1, 0.95 / Math.hypot(u, v)), p = u * shrink, q = v * shrink;
      const c = Math.cos(angle), s = Math.sin(angle), x = 1 - p * c - q * s, y = q * c - p * s;
      const top = [c - p, s - q], norm = x * x + y * y;       // (z − w) / (1 − w̄ z)
      return [Math.atan2((top[1] * x - top[0] * y) / norm, (top[0] * x + top[1] * y) / norm),
        (1 - p * p - q * q) / (top[0] ** 2 + top[1] ** 2)];
    },
    numbers(state) {
      const [angle, slope] = this.map(state.angle, state);
      const slopes = grid(-Math.PI, Math.PI, 2000).slice(1).map((a) => this.map(a, state)[1]);
      return { "angle of its image": angle, "change of lengths": slope, "mean change": total(slopes) / 2000 };
    },
    draw(pen, state) {
      const box = pen.box([-2, 2], [-1.2, 1.2], "", "");
      box.line(grid(0, 2 * Math.PI, 120).map((a) => [Math.cos(a), Math.sin(a)]), "soft");
      grid(0, 2 * Math.PI, 48).slice(1).forEach((a) => {
        const there = this.map(a, state)[0];
        box.dot([Math.cos(there), Math.sin(there)], "first", 3);
      });
      const there = this.map(state.angle, state)[0];
      box.line([[Math.cos(state.angle), Math.sin(state.angle)], [Math.cos(there), Math.sin(there)]], "ink", 1);
      box.handle([state.u, state.v], ([x, y]) => ({ u: x, v: y }));
    },
  },
};

// The page around them -------------------------------------------------------------------------

// Letters of 14 units fit into both sizes, and labels such as −4.6 beside an axis or below it.
const WIDE = [640, 400], NARROW = [400, 320], BESIDE = 40, BELOW = 34;

function svg(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

// What draws in the units of its axes: from ``top``, ``tall`` of the height, and so across.
function penOf(picture, [width, height]) {
  return { box([x0, x1], [y0, y1], across, up, top = 0, tall = 1, wide = 1, left = 0) {
    const px = width * left + BESIDE, pw = width * wide - BESIDE - 8;
    const py = height * top + 8, ph = height * tall - BELOW - 8;
    const at = ([x, y]) => [px + pw * (x - x0) / (x1 - x0), py + ph * (y1 - y) / (y1 - y0)];
    const clip = `clip${Math.random().toString(36).slice(2)}`;
    svg("rect", { x: px, y: py, width: pw, height: ph }, svg("clipPath", { id: clip }, picture));
    const inside = svg("g", { "clip-path": `url(#${clip})` }, picture);
    svg("rect", { x: px, y: py, width: pw, height: ph, class: "frame" }, picture);
    const write = (text, x, y, anchor) => {
      svg("text", { x, y, "text-anchor": anchor }, picture).textContent = text;
    };
    write(across, px + pw, py + ph + 30, "end");
    write(up, px + 6, py + 16, "start");
    for (const v of pw > 90 ? [x0, (x0 + x1) / 2, x1] : [x0, x1]) {
      write(String(Number(v.toFixed(2))).replace("-", "−"), at([v, 0])[0], py + ph + 15,
        v === x0 ? "start" : v === x1 ? "end" : "middle");
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
  let size = WIDE;
  const picture = svg("svg", { role: "img",
    "aria-label": `${one.title}; the numbers below say what it shows` });
  const numbers = document.createElement("dl");
  numbers.setAttribute("aria-live", "polite");
  const draw = () => {
    size = figure.clientWidth < 480 ? NARROW : WIDE;
    picture.setAttribute("viewBox", `0 0 ${size.join(" ")}`);
    picture.replaceChildren();
    one.draw(penOf(picture, size), state);
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
    const place = [(event.clientX - box.left) / box.width * size[0], (event.clientY - box.top) / box.height * size[1]];
    for (const [key, value] of Object.entries(moved(place))) {
      inputs[key].value = value;   // the slider keeps it in its range
      inputs[key].dispatchEvent(new Event("input"));
    }
  });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { moved = null; });
  figure.replaceChildren(caption, picture, ...sliders, numbers);
  draw();
  addEventListener("resize", draw);
}

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", () =>
    document.querySelectorAll("figure.play").forEach(play));
}
