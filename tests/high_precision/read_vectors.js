// Reads golden vectors with nothing but JavaScript and recomputes the maps it knows from
// their papers. Prints one line a file, and exits with 1 at the first disagreement.
//   node tests/high_precision/read_vectors.js FOLDER
"use strict";
const fs = require("fs");
const path = require("path");

// Numbers: a decimal string parses to the same float64 that the hex string spells.
function fromHex(text) {
  const match = /^(-?)0x([01])(?:\.([0-9a-f]+))?p([+-]\d+)$/.exec(text);
  if (!match) throw new Error(`not a hexadecimal float64: ${text}`);
  const digits = (match[3] || "").padEnd(13, "0");
  const fraction = Number(BigInt("0x" + match[2] + digits)) / 2 ** 52;
  return (match[1] ? -1 : 1) * fraction * 2 ** Number(match[4]);
}

function values(leaf) {
  return leaf.hex.map((hex, k) => {
    const value = fromHex(hex);
    if (value !== Number(leaf.decimal[k])) {
      throw new Error(`${leaf.decimal[k]} and ${hex} are different numbers`);
    }
    return value;
  });
}

function rows(leaf) {
  const flat = values(leaf), [n, d] = leaf.shape;
  return Array.from({ length: n }, (_, k) => flat.slice(k * d, (k + 1) * d));
}

const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
const sum = (a) => a.reduce((total, value) => total + value, 0);

// Maps: (fields of the flow, parameters, z, context) -> [x, log |det dx/dz|].
function mlp(layers, input, activation) {
  return layers.reduce((h, layer, k) => {
    const weight = rows(layer.weight);
    const out = values(layer.bias).map((b, j) => b + sum(h.map((value, i) => value * weight[i][j])));
    if (k === layers.length - 1) return out;
    return out.map(activation === "tanh" ? Math.tanh
      : activation === "relu" ? (v) => Math.max(v, 0) : (v) => Math.log1p(Math.exp(v)));
  }, input);
}

function couple(flow, params, z, context, change) {
  const stay = z.filter((_, i) => flow.mask[i]).concat(context);
  const outputs = mlp(params.net, stay, flow.activation);
  const moving = z.map((_, i) => i).filter((i) => !flow.mask[i]);
  const x = z.slice();
  let logDet = 0;
  moving.forEach((i, k) => {
    const raw = outputs.filter((_, j) => j % moving.length === k);
    const [value, slope] = change(z[i], raw, k);
    x[i] = value;
    logDet += slope;
  });
  return [x, logDet];
}

function chain(flows, params, z, context) {
  return flows.reduce(([x, total], flow, k) => {
    const [value, logDet] = MAPS[flow.class](flow, params[k], x, context);
    return [value, total + logDet];
  }, [z, 0]);
}

const alternating = (dim, k) => Array.from({ length: dim }, (_, i) => i % 2 === k % 2);

// Transformers: (fields, own parameters) -> (z, raw numbers, which coordinate) -> [x, log slope].
const TRANSFORMERS = {
  Additive: () => (v, [shift]) => [v + shift, 0],
  Affine(fields, own) {
    const factor = fields.scale === "tanh" ? values(own.factor) : null;
    return (v, [shift, raw], k) => {
      const sigmoid = 1 / (1 + Math.exp(-raw - fields.offset));
      if (fields.scale === "gate") return [(v - (1 - sigmoid) * shift) / sigmoid, -Math.log(sigmoid)];
      const s = { bounded: () => raw / Math.sqrt(1 + (raw / fields.bound) ** 2), exp: () => raw,
        tanh: () => factor[k] * Math.tanh(raw), sigmoid: () => -Math.log(sigmoid) }[fields.scale]();
      return [v * Math.exp(s) + shift, s];
    };
  },
};

const MAPS = {
  Scale(flow, params, z) {
    const s = values(params.log_scale);
    return [z.map((v, i) => v * Math.exp(s[i])), sum(s)];
  },
  ElementwiseAffine(flow, params, z) {
    const s = values(params.log_scale), t = values(params.shift);
    return [z.map((v, i) => v * Math.exp(s[i]) + t[i]), sum(s)];
  },
  Standardise(flow, params, z) {
    return [z.map((v, i) => flow.mean[i] + flow.std[i] * v), sum(flow.std.map(Math.log))];
  },
  Logit(flow, params, z) {
    let logDet = 0;
    const x = z.map((v, i) => {
      if (flow.lower[i] === null) return v;
      const width = flow.upper[i] - flow.lower[i], s = 1 / (1 + Math.exp(-v));
      logDet += Math.log(width * s * (1 - s));
      return flow.lower[i] + width * s;
    });
    return [x, logDet];
  },
  PlanarLayer(flow, params, z, context) {
    let u = values(params.u), w = values(params.w), b = values(params.b)[0];
    if (flow.context_dim) {
      const columns = rows(params.from_context);
      const change = columns[0].map((_, j) => sum(context.map((c, i) => c * columns[i][j])));
      u = u.map((v, i) => v + change[i]);
      w = w.map((v, i) => v + change[flow.dim + i]);
      b += change[2 * flow.dim];
    }
    const wu = dot(w, u), ww = dot(w, w), m = -1 + Math.log1p(Math.exp(wu));
    const uHat = u.map((v, i) => v + (m - wu) * w[i] / ww);
    const h = Math.tanh(dot(w, z) + b);
    return [z.map((v, i) => v + uHat[i] * h), Math.log(Math.abs(1 + dot(w, uHat) * (1 - h * h)))];
  },
  Planar: (flow, params, z, context) =>
    chain(params.map(() => ({ ...flow, class: "PlanarLayer" })), params, z, context),
  Coupling(flow, params, z, context) {
    const known = flow.transformer.class in TRANSFORMERS;
    if (!known || (flow.periodic || []).length) return null;
    const transform = TRANSFORMERS[flow.transformer.class](flow.transformer, params.transformer);
    return couple(flow, params, z, context, transform);
  },
  NICE: (flow, params, z, context) => chain(params.map((_, k) => k === 0 ? { class: "Scale" }
    : { ...flow, class: "Coupling", transformer: { class: "Additive" },
      mask: alternating(flow.dim, k - 1) }),
  params, z, context),
  RealNVP(flow, params, z, context) {
    if (flow.batch_norm) return null;
    return chain(params.map((_, k) => ({ ...flow, class: "Coupling",
      mask: alternating(flow.dim, k) })), params, z, context);
  },
  Chain: (flow, params, z, context) => flow.flows.every((member) => member.class in MAPS)
    ? chain(flow.flows, params, z, context) : null,
};

let compared = 0;
const close = (a, b) => Math.abs(a - b) <= 1e-11 * (1 + Math.abs(b));
for (const name of fs.readdirSync(process.argv[2]).sort()) {
  const golden = JSON.parse(fs.readFileSync(path.join(process.argv[2], name), "utf8"));
  if (golden.schema !== 1) throw new Error(`${name}: schema ${golden.schema}`);
  const z = rows(golden.z), x = rows(golden.x), logDet = values(golden.log_det_forward);
  const context = golden.context ? rows(golden.context) : z.map(() => []);
  const map = MAPS[golden.flow.class];
  const mapped = map ? z.map((row, n) => map(golden.flow, golden.params, row, context[n])) : [null];
  if (mapped[0] === null) {
    console.log(`${name}: read`);
    continue;
  }
  mapped.forEach(([value, slope], n) => {
    if (!value.every((v, i) => close(v, x[n][i])) || !close(slope, logDet[n])) {
      console.error(`${name}: row ${n}: got ${value} and ${slope}, expected ${x[n]} and ${logDet[n]}`);
      process.exit(1);
    }
  });
  compared += 1;
  console.log(`${name}: ${z.length} rows agree`);
}
console.log(`${compared} files compared`);
