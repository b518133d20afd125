// Layers of flows for one row at a time, each in the letters and with the steps of the file of
// nfref that its heading names. As there, "forward" takes z to x and "inverse" x to z, and each
// returns [value, log |det|] of the direction just taken.
"use strict";

const sum = (a) => a.reduce((total, value) => total + value, 0);
const dot = (a, b) => sum(a.map((value, i) => value * b[i]));

// Activations: nfref/networks/activations.py ---------------------------------------------------

// log(1 + e^x), exact for large |x|.
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

// The slope of tanh, which can neither overflow nor cancel.
function sechSquared(x) {
  const tail = Math.exp(-2 * Math.abs(x));
  return 4 * tail / (1 + tail) ** 2;
}

// Planar: nfref/flows/planar.py ----------------------------------------------------------------
//     x = z + u_hat tanh(w . z + b),   det dx/dz = 1 + w . u_hat tanh'(w . z + b)

// u_hat with w . u_hat > -1, and slack = 1 + w . u_hat = log(1 + e^(w . u)).
function constrainU(u, w) {
  const wu = dot(w, u), ww = dot(w, w);
  if (ww === 0) return [u, 1];
  const slack = softplus(wu);
  return [u.map((value, i) => value + (slack - 1 - wu) * w[i] / ww), slack];
}

// 1 + w . u_hat tanh'(a) with no term below zero.
const planarSlope = (a, slack) => Math.tanh(a) ** 2 + slack * sechSquared(a);

function planarForward(z, uHat, slack, w, b) {
  const a = dot(w, z) + b;
  return [z.map((value, i) => value + uHat[i] * Math.tanh(a)), Math.log(planarSlope(a, slack))];
}

function planarInverse(x, uHat, slack, w, b) {
  const a = planarRoot(dot(w, x) + b, slack);
  return [x.map((value, i) => value - uHat[i] * Math.tanh(a)), -Math.log(planarSlope(a, slack))];
}

// a - tanh(a) for a >= 0 with no cancellation: Lambert's fraction up to 1.
function minusTanh(a) {
  if (a >= 1) return a - Math.tanh(a);
  let fraction = 0;
  for (let odd = 19; odd > 1; odd -= 2) fraction = a * a / (odd + fraction);
  return a * fraction / (1 + fraction);
}

// The a that solves (a - tanh a) + slack tanh a = r: Newton within a bracket, for |r|.
function planarRoot(r, slack) {
  const target = Math.abs(r);
  let low = Math.max(target - Math.max(slack - 1, 0), 0);
  let high = Math.min(target + Math.max(1 - slack, 0), target / Math.min(slack, 1));
  let a = slack < 1 ? high : low;
  for (let step = 0; step < 200; step++) {
    const excess = minusTanh(a) + slack * Math.tanh(a) - target;
    if (excess <= 0) low = a;
    if (excess >= 0) high = a;
    const newton = a - excess / planarSlope(a, slack), before = a;
    a = low <= newton && newton <= high ? newton : (low + high) / 2;
    if (Math.abs(a - before) <= 4 * Number.EPSILON * Math.abs(a)) break;
  }
  return r < 0 ? -a : a;
}

// Affine: nfref/transformers/affine.py ---------------------------------------------------------
//     x = z exp(s) + t,   log dx/dz = s

const bounded = (raw, bound) => raw / Math.sqrt(1 + (raw / bound) ** 2);

const affineForward = (z, [shift, logScale]) => [z * Math.exp(logScale) + shift, logScale];
const affineInverse = (x, [shift, logScale]) => [(x - shift) * Math.exp(-logScale), -logScale];

// Rational-quadratic spline: nfref/transformers/rational_quadratic.py --------------------------
//     K bins between knots (x_k, y_k), mean slopes s_k, slopes d_k at the knots; z = g(x)

// u_k = m + (1 - K m) softmax(raw)_k: parts of one, none below m.
function fractions(raw, minimum) {
  const largest = Math.max(...raw);
  const weights = raw.map((value) => Math.exp(value - largest)), total = sum(weights);
  return weights.map((weight) => minimum + (1 - raw.length * minimum) * weight / total);
}

// -B, then B (2 (u_0 + ... + u_{k-1}) - 1), and at the end B.
function knots(parts, bound) {
  let total = 0;
  const inner = parts.slice(0, -1).map((part) => bound * (2 * (total += part) - 1));
  return [-bound, ...inner, bound];
}

// c with m + softplus(c) = 1: raw zeros mean slopes of 1.
const slopeOffset = (minimum) => Math.log(Math.expm1(1 - minimum));

// [x_k, y_k, s_k, d_k] from raw = (widths (K), heights (K), slopes (K - 1)); linear tails.
function constrainSpline(raw, { bins, bound, minimum = 1e-3 }) {
  const widths = fractions(raw.slice(0, bins), minimum);
  const heights = fractions(raw.slice(bins, 2 * bins), minimum);
  const slopes = raw.slice(2 * bins).map((v) => minimum + softplus(v + slopeOffset(minimum)));
  return [knots(widths, bound), knots(heights, bound),
    heights.map((height, k) => height / widths[k]), [1, ...slopes, 1]];
}

// (y - y_k) / (y_{k+1} - y_k) at the parts a and b = 1 - a of the width.
const heightInBin = (a, b, s, d0, d1) =>
  a * (s * a + d0 * b) / (s * (a * a + b * b) + (d0 + d1) * a * b);

// log dy/dx = log(q / m^2); through log1p where the ratio is not small.
function logSlopeInBin(a, b, s, d0, d1) {
  const q = d1 * a * a + 2 * s * a * b + d0 * b * b;
  const m = a * a + b * b + (d0 + d1) * a * b / s;
  if (q / (m * m) < 0.5) return Math.log(q / (m * m));
  const e = ((d0 - s) + (d1 - s)) * a * b / s;
  return Math.log1p(
    ((d1 - 1) * a * a + 2 * (s - 1) * a * b + (d0 - 1) * b * b - e * (2 + e)) / (m * m));
}

// Parts of the width of the point at the parts a and b of the height: a quadratic equation.
function placeInBin(a, b, s, d0, d1) {
  const c = b * d0 - a * d1;
  const outer = Math.sqrt(c * c + 4 * a * b * s * s) + Math.abs(c);
  const left = c < 0 ? outer : 2 * a * s, right = c < 0 ? 2 * b * s : outer;
  return [left / (left + right), right / (left + right)];
}

// The bin of v, and the distances of v from its two ends as parts of their sum.
function parts(v, ends) {
  const k = ends.slice(1, -1).filter((end) => v >= end).length;
  const left = v - ends[k], right = ends[k + 1] - v;
  return [k, left / (left + right), right / (left + right)];
}

function splineInverse(x, [xs, ys, s, d]) {
  if (Math.abs(x) >= xs[xs.length - 1]) return [x, 0];
  const [k, a, b] = parts(x, xs);
  return [ys[k] + (ys[k + 1] - ys[k]) * heightInBin(a, b, s[k], d[k], d[k + 1]),
    logSlopeInBin(a, b, s[k], d[k], d[k + 1])];
}

function splineForward(z, [xs, ys, s, d]) {
  if (Math.abs(z) >= ys[ys.length - 1]) return [z, 0];
  const [k, above, below] = parts(z, ys);
  const [a, b] = placeInBin(above, below, s[k], d[k], d[k + 1]);
  return [xs[k] + (xs[k + 1] - xs[k]) * a, -logSlopeInBin(a, b, s[k], d[k], d[k + 1])];
}

// Coupling: nfref/flows/coupling.py, nfref/networks/mlp.py -------------------------------------
//     x_a = z_a,   x_b = T(z_b; h(z_a)),   log |det dx/dz| = sum_i log dT/dz_i

function couple(kept, changed, transform, conditioner) {
  const h = conditioner(kept);
  const pairs = changed.map((value, i) => transform(value, h[i]));
  return [pairs.map(([value]) => value), sum(pairs.map(([, logSlope]) => logSlope))];
}

// h @ weight + bias, layer by layer, tanh after all but the last.
function mlp(layers, inputs) {
  return layers.reduce((h, { weight, bias }, k) => {
    const out = bias.map((b, j) => b + sum(h.map((value, i) => value * weight[i][j])));
    return k < layers.length - 1 ? out.map(Math.tanh) : out;
  }, inputs);
}

// What a coupling does to coordinates: constrain and the two directions.
const TRANSFORMERS = {
  Affine: {
    constrain: ([shift, raw], { bound }) => [shift, bounded(raw, bound)],
    forward: affineForward,
    inverse: affineInverse,
  },
  RationalQuadratic: {
    constrain: constrainSpline, forward: splineForward, inverse: splineInverse,
  },
};

// The layer: coordinates with mask true stay, and the network reads them. Direction is
// "forward" or "inverse".
function coupling(direction, rows, { mask, transformer }, params) {
  const { constrain, [direction]: transform } = TRANSFORMERS[transformer.class];
  const changing = rows.map((_, i) => i).filter((i) => !mask[i]);
  const conditioner = (kept) => {
    const outputs = mlp(params.net, kept);
    return changing.map((_, i) =>
      constrain(outputs.filter((_, j) => j % changing.length === i), transformer));
  };
  const [changed, logDet] = couple(rows.filter((_, i) => mask[i]), changing.map((i) => rows[i]),
    transform, conditioner);
  const value = rows.slice();
  changing.forEach((i, k) => { value[i] = changed[k]; });
  return [value, logDet];
}

// The density of x = forward(z): standard normal z, change of variables. The sum of
// nfref/flow.py, log p(x) = log N(z) + log |det dz/dx|.
const logNormal = (z) => -0.5 * dot(z, z) - 0.5 * z.length * Math.log(2 * Math.PI);
