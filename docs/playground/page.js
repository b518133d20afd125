// The page around flows.js: sliders and knots in, pictures and numbers out.
"use strict";

const get = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const LIMIT = 4;            // every plane is drawn on [-4, 4] x [-4, 4]
const BOUND = 3, BINS = 4;  // of the spline

// Layers ---------------------------------------------------------------------------------------
// sliders: [key, label, lowest, highest, value at the start]. params(state) are those of nfref's
// flow of the same name; forward and inverse take one row.

const GATE = [
  ["gate", "how fast the network changes with z₁", 0, 6, 2],
  ["place", "where it changes", -2, 2, 0],
];
// One hidden unit, tanh(gate (z_1 - place)), which is -1 far left and +1 far right.
const hidden = (state) => ({ weight: [[state.gate]], bias: [round(-state.gate * state.place)] });

// The last layer that gives ``low`` where the hidden unit is -1 and ``high`` where it is +1.
const between = (low, high) => ({
  weight: [high.map((value, i) => round((value - low[i]) / 2))],
  bias: high.map((value, i) => round((value + low[i]) / 2)),
});

const asCoupling = (transformer, layer) => ({
  ...layer,
  forward: (z, params) => coupling("forward", z, { mask: [true, false], transformer }, params),
  inverse: (x, params) => coupling("inverse", x, { mask: [true, false], transformer }, params),
});

// h at z_1: what the transformer of a coupling makes of the network's outputs.
function conditioned(transformer, params, first) {
  return TRANSFORMERS[transformer.class].constrain(mlp(params.net, [first]), transformer);
}

const AFFINE = { class: "Affine", bound: 5 };
const SPLINE = { class: "RationalQuadratic", bins: BINS, bound: BOUND };

const LAYERS = {
  planar: {
    formula: "x = z + û tanh(w · z + b)",
    logDet: "log |det| = log |1 + w · û tanh′(w · z + b)|",
    sliders: [["u1", "u₁", -4, 4, 1.5], ["u2", "u₂", -4, 4, 0.5], ["w1", "w₁", -4, 4, 1.2],
      ["w2", "w₂", -4, 4, 0.4], ["b", "b", -3, 3, 0]],
    // û = 0 where w · u = m⁻¹(0) = log(e - 1).
    identity: { u1: round(Math.log(Math.expm1(1))), u2: 0, w1: 1, w2: 0, b: 0 },
    task: `Predict: what happens to the grid as u turns against w, so that w · u falls far below −1?
      Find the line along which log |det| is lowest, and say why it never reaches −∞. (û is u,
      moved so that w · û > −1.)`,
    params: (state) => ({ u: [state.u1, state.u2], w: [state.w1, state.w2], b: [state.b] }),
    forward: (z, { u, w, b }) => planarForward(z, ...constrainU(u, w), w, b[0]),
    inverse: (x, { u, w, b }) => planarInverse(x, ...constrainU(u, w), w, b[0]),
    flow: "nfref.PlanarLayer(2)",
    curve: {
      caption: "Along w: r = w · x + b against a = w · z + b.",
      across: "a", up: "r",
      lines({ u, w }) {
        const slack = constrainU(u, w)[1];
        return [{ colour: "--first", at: (a) => a + (slack - 1) * Math.tanh(a) }];
      },
      point: ({ w, b }, z, x) => [dot(w, z) + b[0], dot(w, x) + b[0]],
    },
  },
  affine: asCoupling(AFFINE, {
    formula: "x₁ = z₁,   x₂ = z₂ exp(s(z₁)) + t(z₁)",
    logDet: "log |det| = s(z₁)",
    sliders: [["tLow", "t where z₁ is low", -3, 3, -1], ["tHigh", "t where z₁ is high", -3, 3, 1],
      ["sLow", "raw s where z₁ is low", -3, 3, 0.5],
      ["sHigh", "raw s where z₁ is high", -3, 3, -1], ...GATE],
    identity: { tLow: 0, tHigh: 0, sLow: 0, sHigh: 0, gate: 2, place: 0 },
    task: `Predict: which way must the point move for log |det| not to change at all? Then set both s
      to 0: areas stay as they are wherever the point is. That is NICE.`,
    params: (state) => ({ net: [hidden(state),
      between([state.tLow, state.sLow], [state.tHigh, state.sHigh])] }),
    flow: "nfref.Coupling((True, False), nfref.Affine(), hidden=(1,))",
    curve: {
      caption: "x₂ against z₂: red at the point's z₁, blue where z₁ is −2, −1, 0, 1, 2.",
      across: "z₂", up: "x₂",
      lines(params, z) {
        const line = (first, name, thin) => {
          const h = conditioned(AFFINE, params, first);
          return { colour: name, thin, at: (v) => affineForward(v, h)[0] };
        };
        return [...[-2, -1, 0, 1, 2].map((v) => line(v, "--first", true)),
          line(z[0], "--second")];
      },
      point: (params, z, x) => [z[1], x[1]],
    },
  }),
  spline: asCoupling(SPLINE, {
    formula: "x₁ = z₁,   z₂ = g(x₂; h(z₁)): a rational-quadratic spline",
    logDet: "log |det| = −log g′(x₂)",
    sliders: [...GATE],
    identity: { gate: 2, place: 0, low: straight(), high: straight() },
    start: { low: [{ x: -1.6, y: -0.5, d: 0.3 }, { x: 0, y: 0, d: 0.3 }, { x: 1.6, y: 0.5, d: 0.3 }],
      high: [{ x: -1.4, y: -1.2, d: 1.5 }, { x: -0.4, y: 0, d: 2 }, { x: 0.6, y: 1.2, d: 1.5 }] },
    task: `Drag the knots. Predict: where must the curve be flat for the density to have two modes?
      Outside of the square the spline is the identity: look at the grid there.`,
    params: (state) => ({ net: [hidden(state), between(rawOf(state.low), rawOf(state.high))] }),
    flow: `nfref.Coupling((True, False), nfref.RationalQuadratic(bins=${BINS}, bound=${BOUND}),`
      + "\n                      hidden=(1,))",
    curve: {
      caption: "z₂ = g(x₂): blue where z₁ is low, green where it is high, red at the point's z₁.",
      across: "x₂", up: "z₂",
      lines(params, z) {
        const line = (h, name) => ({ colour: name, at: (v) => splineInverse(v, h)[0] });
        return [line(knotsOf(params, -1), "--first"), line(knotsOf(params, 1), "--third"),
          line(conditioned(SPLINE, params, z[0]), "--second")];
      },
      point: (params, z, x) => [x[1], z[1]],
    },
  }),
};

// Knots and the raw numbers that make them ------------------------------------------------------

function straight() {
  return Array.from({ length: BINS - 1 }, (_, k) => {
    const v = BOUND * (2 * (k + 1) / BINS - 1);
    return { x: v, y: v, d: 1 };
  });
}

// Numbers of the page have four decimals, so that the Python below it has them all.
function round(value) {
  return Number(value.toFixed(4));
}

// constrainSpline backwards: the raw numbers of inner knots {x, y, d}.
function rawOf(inner, minimum = 1e-3) {
  const raw = (ends) => ends.slice(1).map((end, k) =>
    Math.log((end - ends[k]) / (2 * BOUND) - minimum) - Math.log(1 - BINS * minimum));
  const slope = ({ d }) => Math.log(Math.expm1(d - minimum)) - slopeOffset(minimum);
  return [...raw([-BOUND, ...inner.map(({ x }) => x), BOUND]),
    ...raw([-BOUND, ...inner.map(({ y }) => y), BOUND]), ...inner.map(slope)];
}

// Knots and slopes where the hidden unit is ``unit``, -1 or +1.
function knotsOf({ net: [, { weight: [weight], bias }] }, unit) {
  return constrainSpline(bias.map((value, i) => value + unit * weight[i]), SPLINE);
}

// State ------------------------------------------------------------------------------------------

const startOf = ({ sliders, start }) => structuredClone({
  ...Object.fromEntries(sliders.map(([key, , , , value]) => [key, value])), ...start });
const states = Object.fromEntries(
  Object.entries(LAYERS).map(([name, layer]) => [name, startOf(layer)]));
const page = { layer: "planar", side: "low", probe: [1, 0.5] };

const layerNow = () => LAYERS[page.layer], stateNow = () => states[page.layer];

// A knot goes where it is sent, but not past its neighbours.
function moveKnot(index, change) {
  const inner = stateNow()[page.side], knot = inner[index];
  for (const axis of ["x", "y"]) {
    if (!(axis in change)) continue;
    const low = index ? inner[index - 1][axis] : -BOUND;
    const high = index < inner.length - 1 ? inner[index + 1][axis] : BOUND;
    knot[axis] = Math.min(Math.max(change[axis], low + 0.1), high - 0.1);
  }
  if ("d" in change) knot.d = change.d;
}

// Controls ---------------------------------------------------------------------------------------

function slider(key, label, low, high, value, set) {
  const row = document.createElement("label");
  const text = document.createElement("span"), shown = document.createElement("output");
  const input = Object.assign(document.createElement("input"),
    { type: "range", id: key, min: low, max: high, step: 0.05, value });
  text.textContent = label;
  row.htmlFor = key;      // the output inside could be labelled too, and comes first
  row.append(text, shown, input);
  shown.textContent = Number(value).toFixed(2);
  input.addEventListener("input", () => {
    set(Number(input.value));
    shown.textContent = Number(input.value).toFixed(2);
    draw();
  });
  return row;
}

function group(title, rows) {
  const box = document.createElement("fieldset"), legend = document.createElement("legend");
  legend.textContent = title;
  box.append(legend, ...rows);
  return box;
}

function knotSliders() {
  const sides = [["low", "where z₁ is low (blue)"], ["high", "where z₁ is high (green)"]]
    .map(([side, text]) => {
      const row = document.createElement("label");
      const input = Object.assign(document.createElement("input"),
        { type: "radio", name: "side", id: side, checked: page.side === side });
      input.addEventListener("change", () => { page.side = side; controls(); draw(); });
      row.className = "choice";
      row.append(input, text);
      return row;
    });
  const rows = stateNow()[page.side].map((knot, k) => group(`knot ${k + 1}`, [
    slider(`knot${k}x`, "x", -BOUND, BOUND, knot.x, (x) => moveKnot(k, { x })),
    slider(`knot${k}y`, "z", -BOUND, BOUND, knot.y, (y) => moveKnot(k, { y })),
    slider(`knot${k}d`, "slope", 0.05, 5, knot.d, (d) => moveKnot(k, { d }))]));
  return [group("the curve to change", sides), ...rows];
}

function controls() {
  const layer = layerNow(), state = stateNow();
  const rows = layer.sliders.map(([key, label, low, high]) =>
    slider(key, label, low, high, state[key], (value) => { state[key] = value; }));
  get("sliders").replaceChildren(group("parameters", rows),
    ...(page.layer === "spline" ? knotSliders() : []));
  get("formula").textContent = layer.formula;
  get("log-det-formula").textContent = layer.logDet;
  get("task").textContent = layer.task.replace(/\s+/g, " ");
  get("curve-caption").textContent = layer.curve.caption;
}

// Pictures ---------------------------------------------------------------------------------------

const minus = (value, digits = 3) => value.toFixed(digits).replace("-", "−");

// A canvas cleared and scaled so that drawing is in the units of the plane.
function plane(id, across, up) {
  const canvas = get(id), size = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(size * ratio);
  const pen = canvas.getContext("2d");
  const at = (v) => [(v[0] / LIMIT + 1) / 2 * size, (1 - v[1] / LIMIT) / 2 * size];
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif";
  const path = (points, name, width = 1, alpha = 1) => {
    pen.beginPath();
    points.forEach((point) => pen.lineTo(...at(point)));
    Object.assign(pen, { strokeStyle: colour(name), lineWidth: width, globalAlpha: alpha });
    pen.stroke();
    pen.globalAlpha = 1;
  };
  const dot = (point, name, radius, edge) => {
    pen.beginPath();
    pen.arc(...at(point), radius, 0, 2 * Math.PI);
    pen.fillStyle = colour(name);
    pen.fill();
    if (edge) Object.assign(pen, { strokeStyle: colour(edge), lineWidth: 2 }), pen.stroke();
  };
  // Text with a rim in the page's colour, legible on anything.
  const write = (text, x, y, align) => {
    Object.assign(pen, { textAlign: align, strokeStyle: colour("--page"), lineWidth: 4,
      fillStyle: colour("--ink") });
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  };
  const axes = () => {
    path([[-LIMIT, 0], [LIMIT, 0]], "--soft", 0.7, 0.6);
    path([[0, -LIMIT], [0, LIMIT]], "--soft", 0.7, 0.6);
    write(across, size - 6, size - 6, "right");
    write(up, 6, 16, "left");
    for (const v of [-2, 0, 2]) {
      write(minus(v, 0), at([v, 0])[0], size - 6, "center");
      write(minus(v, 0), 6, at([0, v])[1] + 4, "left");
    }
  };
  return { pen, size, at, path, dot, axes };
}

// Probability as depth of colour, one number a cell; ``top`` is the log-density of the base's peak.
function shade({ pen, size }, logProb, top) {
  const cells = 128, image = new ImageData(cells, cells);
  const [red, green, blue] = colour("--shade").match(/\d+/g).map(Number);
  for (let row = 0, k = 0; row < cells; row++) {
    for (let column = 0; column < cells; column++, k += 4) {
      const v = [2 * LIMIT * ((column + 0.5) / cells - 0.5), 2 * LIMIT * (0.5 - (row + 0.5) / cells)];
      image.data.set([red, green, blue, 240 * -Math.expm1(-Math.exp(logProb(v) - top))], k);
    }
  }
  const small = Object.assign(document.createElement("canvas"), { width: cells, height: cells });
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = true;
  pen.drawImage(small, 0, 0, size, size);
}

const QUADRANTS = ["--first", "--second", "--third", "--fourth"];
const GRID = Array.from({ length: 13 }, (_, k) => k / 2 - 3);
const ALONG = Array.from({ length: 121 }, (_, k) => k / 20 - 3);

// One of the two planes: ``map`` takes latent points to where they are drawn.
function drawPlane(id, across, up, logProb, map, cell, probe) {
  const picture = plane(id, across, up);
  if (get("density").checked) shade(picture, logProb, logNormal([0, 0]));
  if (get("grid").checked) {
    for (const v of GRID) {
      picture.path(ALONG.map((a) => map([v, a])), "--second", 1, 0.75);
      picture.path(ALONG.map((a) => map([a, v])), "--first", 1, 0.75);
    }
  }
  if (get("samples").checked) {
    for (const z of DRAWS) {
      picture.dot(map(z), QUADRANTS[2 * (z[1] > 0) + (z[0] > 0)],
        0.6 + picture.size / 450);
    }
  }
  picture.axes();
  picture.path([...cell, cell[0]], "--ink", 2);
  picture.dot(probe, "--ink", 4, "--page");
}

function drawCurve(params, z, x) {
  const { curve } = layerNow(), picture = plane("curve", curve.across, curve.up);
  picture.axes();
  if (page.layer === "spline") {
    const corner = [[-BOUND, -BOUND], [BOUND, -BOUND], [BOUND, BOUND], [-BOUND, BOUND]];
    picture.path([...corner, corner[0]], "--soft", 1, 0.6);
  }
  const across = Array.from({ length: 321 }, (_, k) => k / 40 - 4);
  for (const line of curve.lines(params, z)) {
    picture.path(across.map((v) => [v, line.at(v)]), line.colour, line.thin ? 1 : 2);
  }
  if (page.layer === "spline") {
    for (const [side, unit, name] of [["low", -1, "--first"], ["high", 1, "--third"]]) {
      const [xs, ys] = knotsOf(params, unit), active = side === page.side;
      for (let k = 1; k < BINS; k++) {
        picture.dot([xs[k], ys[k]], name, active ? 7 : 4, active ? "--ink" : "--page");
      }
    }
  }
  picture.dot(curve.point(params, z, x), "--second", 4, "--ink");
}

const pair = (v) => `(${minus(v[0], 2)}, ${minus(v[1], 2)})`;

// A square around z, and the parallelogram that the Jacobian makes of it around x.
function cells(forward, z, x) {
  const half = 0.25, step = 1e-5;
  const columns = [[step, 0], [0, step]].map((change) => {
    const [ahead] = forward([z[0] + change[0], z[1] + change[1]]);
    const [behind] = forward([z[0] - change[0], z[1] - change[1]]);
    return ahead.map((value, i) => (value - behind[i]) / (2 * step));
  });
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map((v) => v.map((side) => side * half));
  return [corners.map(([p, q]) => [z[0] + p, z[1] + q]),
    corners.map(([p, q]) => x.map((value, i) => value + p * columns[0][i] + q * columns[1][i]))];
}

function python(params, z, x, logDet) {
  const array = (value) => `np.array(${JSON.stringify(value)})`;
  const text = params.net
    ? `{"net": [${params.net.map(({ weight, bias }) =>
      `{"weight": ${array(weight)},\n     "bias": ${array(bias)}}`).join(",\n    ")}]}`
    : `{${Object.entries(params).map(([key, value]) =>
      `"${key}": ${array(value)}`).join(",\n          ")}}`;
  return `import numpy as np, nfref

flow = ${layerNow().flow}
params = ${text.replace(/(?<=[[,])(-?\d+)(?=[,\]])/g, "$1.0")}
x, log_det = flow.forward(params, np.array([[${z.map(String).join(", ")}]]))
print(x, log_det)   # [[${x.map((v) => v.toFixed(6)).join(" ")}]] [${logDet.toFixed(6)}]`;
}

function draw() {
  const layer = layerNow(), params = layer.params(stateNow()), z = page.probe;
  const forward = (row) => layer.forward(row, params);
  const [x, logDet] = forward(z), [square, image] = cells(forward, z, x);
  const logProb = (row) => {
    const [latent, change] = layer.inverse(row, params);
    return logNormal(latent) + change;
  };
  drawPlane("latent", "z₁", "z₂", logNormal, (v) => v, square, z);
  drawPlane("data", "x₁", "x₂", logProb, (v) => forward(v)[0], image, x);
  drawCurve(params, z, x);
  get("where").textContent = `z = ${pair(z)} → x = ${pair(x)}`;
  get("log-det").textContent = minus(logDet);
  get("area").textContent = `× ${minus(Math.exp(logDet))}`;
  get("log-prob").textContent = `${minus(logNormal(z))} → ${minus(logNormal(z) - logDet)}`;
  get("python").textContent = python(params, z, x, logDet);
  get("address").href = "#" + encodeURIComponent(JSON.stringify({ ...page, state: stateNow() }));
}

// Take the setting that an address holds; one that is not of this page's making is left alone.
function takeAddress() {
  try {
    const { layer, side, probe: z, state } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    const known = startOf(LAYERS[layer]);
    const alike = (a, b) => typeof a === typeof b && (typeof a === "number" ? Number.isFinite(b)
      : Object.keys(a).every((key) => alike(a[key], b[key])));
    if (!alike({ side: "", z: [0, 0], state: known }, { side, z, state })) return;
    Object.assign(page, { layer, side: side === "high" ? "high" : "low", probe: z });
    states[layer] = state;
    get(layer).checked = true;
  } catch { /* no setting */ }
}

// Events -----------------------------------------------------------------------------------------

// Where a pointer is, in the units of the plane.
function pointed(event) {
  const box = event.currentTarget.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width * 2 - 1) * LIMIT,
    (1 - (event.clientY - box.top) / box.height * 2) * LIMIT];
}

function probe(z) {
  page.probe = z.map((v) => Number(Math.min(Math.max(v, -LIMIT), LIMIT).toFixed(2)));
  page.probe.forEach((v, i) => {
    get(`z${i + 1}`).value = v;
    get(`z${i + 1}`).previousSibling.textContent = v.toFixed(2);
  });
  draw();
}

function start() {
  takeAddress();
  get("probe").append(...[0, 1].map((i) => slider(`z${i + 1}`, `z${"₁₂"[i]}`, -LIMIT, LIMIT,
    page.probe[i], (value) => { page.probe[i] = value; })));
  get("latent").addEventListener("pointermove", (event) => probe(pointed(event)));
  get("latent").addEventListener("pointerdown", (event) => probe(pointed(event)));
  for (const kind of ["pointermove", "pointerdown"]) {
    get("data").addEventListener(kind, (event) =>
      probe(layerNow().inverse(pointed(event), layerNow().params(stateNow()))[0]));
  }

  let held = null;
  get("curve").addEventListener("pointerdown", (event) => {
    if (page.layer !== "spline") return;
    const [x, y] = pointed(event), far = (knot) => Math.hypot(knot.x - x, knot.y - y);
    const all = ["low", "high"].flatMap((side) =>
      stateNow()[side].map((knot, index) => ({ side, index, far: far(knot) })));
    const nearest = all.reduce((best, one) => one.far < best.far ? one : best);
    if (nearest.far > 0.6) return;
    page.side = nearest.side;
    held = nearest.index;
    get("curve").setPointerCapture(event.pointerId);
    event.preventDefault();
    controls();
    draw();
  });
  get("curve").addEventListener("pointermove", (event) => {
    if (held === null) return;
    const [x, y] = pointed(event);
    moveKnot(held, { x: round(x), y: round(y) });
    controls();
    draw();
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    get("curve").addEventListener(kind, () => { held = null; });
  }

  for (const name of Object.keys(LAYERS)) {
    get(name).addEventListener("change", () => {
      page.layer = name;
      controls();
      draw();
    });
  }
  for (const id of ["grid", "samples", "density"]) get(id).addEventListener("change", draw);
  get("identity").addEventListener("click", () => {
    Object.assign(stateNow(), structuredClone(layerNow().identity));
    controls();
    draw();
  });
  get("start").addEventListener("click", () => {
    states[page.layer] = startOf(layerNow());
    controls();
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("resize", draw);
  controls();
  draw();
}

start();
