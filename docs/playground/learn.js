// A chain of affine couplings that learns points of the plane, by maximum likelihood and Adam. The
// layers are those of flows.js; the gradient is written out, in the letters of lesson 03.
"use strict";

const HIDDEN = 8, BOUNDED = 5, STEPS = 1000;

// A chain that is the identity: its last weights are zero. ``uniform`` gives numbers in (0, 1).
function newChain(layers, uniform) {
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return Array.from({ length: layers }, (_, k) => ({
    mask: [k % 2 === 0, k % 2 === 1],
    net: [{ weight: [Array.from({ length: HIDDEN }, () => 1.5 * normal())],
      bias: Array.from({ length: HIDDEN }, normal) },
    { weight: Array.from({ length: HIDDEN }, () => [0, 0]), bias: [0, 0] }],
  }));
}

// Numbers that are the same for everybody (a linear congruential generator).
function generator(seed) {
  let state = seed;
  return () => (state = (1664525 * state + 1013904223) % 4294967296) / 4294967296 || 0.5;
}

const TRANSFORMER = { class: "Affine", bound: BOUNDED };

function chainLogProb(chain, x) {
  let row = x, total = 0;
  for (let k = chain.length - 1; k >= 0; k--) {
    const [z, log] = coupling("inverse", row, { mask: chain[k].mask, transformer: TRANSFORMER }, chain[k]);
    row = z;
    total += log;
  }
  return logNormal(row) + total;
}

function chainForward(chain, z) {
  return chain.reduce((row, layer) =>
    coupling("forward", row, { mask: layer.mask, transformer: TRANSFORMER }, layer)[0], z);
}

// All parameters as one list, and back into the same places.
function parameters(chain) {
  return chain.flatMap(({ net }) => net.flatMap(({ weight, bias }) => [...weight.flat(), ...bias]));
}

function setParameters(chain, values) {
  let place = 0;
  for (const { net } of chain) {
    for (const { weight, bias } of net) {
      for (const line of [...weight, bias]) {
        for (let i = 0; i < line.length; i++) line[i] = values[place++];
      }
    }
  }
}

// [mean of -log p over the rows, its gradient by all parameters]. From x to z:
//     h = tanh(w x_a + c),  (t, r) = h V + d,  s = r / sqrt(1 + (r / B)^2),  z_b = (x_b - t) e^-s
function lossAndGradient(chain, rows) {
  const size = 4 * HIDDEN + 2, gradient = new Array(size * chain.length).fill(0);
  let loss = 0;
  for (const x of rows) {
    let row = x;
    const seen = [];
    for (let k = chain.length - 1; k >= 0; k--) {
      const { mask, net: [first, last] } = chain[k], a = mask[0] ? 0 : 1, b = 1 - a;
      const h = first.bias.map((c, j) => Math.tanh(first.weight[0][j] * row[a] + c));
      const [t, r] = [0, 1].map((i) => last.bias[i] + sum(h.map((v, j) => v * last.weight[j][i])));
      const s = bounded(r, BOUNDED), z = row.slice();
      z[b] = (row[b] - t) * Math.exp(-s);
      seen.push({ k, a, b, kept: row[a], h, r, s, z });
      row = z;
      loss += s;
    }
    loss -= logNormal(row);
    let back = row.slice();         // the derivative of -log N(z) by z
    for (const { k, a, b, kept, h, r, s, z } of seen.reverse()) {
      const { net: [first, last] } = chain[k], at = k * size;
      const byT = -back[b] * Math.exp(-s);
      const byR = (1 - back[b] * z[b]) * (1 + (r / BOUNDED) ** 2) ** -1.5;
      const next = back.slice();
      next[b] = back[b] * Math.exp(-s);
      for (let j = 0; j < HIDDEN; j++) {
        const inner = (byT * last.weight[j][0] + byR * last.weight[j][1]) * (1 - h[j] ** 2);
        gradient[at + j] += inner * kept;
        gradient[at + HIDDEN + j] += inner;
        gradient[at + 2 * HIDDEN + 2 * j] += byT * h[j];
        gradient[at + 2 * HIDDEN + 2 * j + 1] += byR * h[j];
        next[a] += inner * first.weight[0][j];
      }
      gradient[at + 4 * HIDDEN] += byT;
      gradient[at + 4 * HIDDEN + 1] += byR;
      back = next;
    }
  }
  return [loss / rows.length, gradient.map((value) => value / rows.length)];
}

// Adam (Kingma and Ba, algorithm 1); a call is a step and returns the loss before it.
function adam(chain, rate = 0.02) {
  let m = parameters(chain).map(() => 0), v = m.slice(), step = 0;
  return (rows) => {
    const [loss, g] = lossAndGradient(chain, rows);
    step += 1;
    m = m.map((value, i) => 0.9 * value + 0.1 * g[i]);
    v = v.map((value, i) => 0.999 * value + 0.001 * g[i] ** 2);
    setParameters(chain, parameters(chain).map((value, i) => value - rate
      * (m[i] / (1 - 0.9 ** step)) / (Math.sqrt(v[i] / (1 - 0.999 ** step)) + 1e-8)));
    return loss;
  };
}

function twoMoons(n, uniform) {
  return Array.from({ length: n }, (_, k) => {
    const angle = Math.PI * uniform(), up = k % 2 ? 1 : -1, noise = () => 0.3 * (uniform() - 0.5);
    return [1.6 * Math.cos(angle) + up * 0.8 + noise(), -up * (1.6 * Math.sin(angle) - 0.5) + noise()];
  });
}

// The page ---------------------------------------------------------------------------------------

function learningPage() {
  const get = (id) => document.getElementById(id), canvas = get("points"), LIMIT = 4;
  let rows = [], chain, step, steps = 0, loss = null, running = false;
  const reset = () => {
    chain = newChain(Number(get("layers").value), generator(7));
    step = adam(chain);
    steps = 0;
    loss = null;
    draw();
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function draw() {
    const size = canvas.clientWidth, pen = canvas.getContext("2d"), cells = 64;
    canvas.width = canvas.height = size;
    const [red, green, blue] = colour("--shade").match(/\d+/g);
    for (let i = 0; i < cells; i++) {
      for (let j = 0; j < cells; j++) {
        const x = [(i + 0.5) / cells * 2 * LIMIT - LIMIT, LIMIT - (j + 0.5) / cells * 2 * LIMIT];
        pen.fillStyle = `rgb(${red} ${green} ${blue} / ${-Math.expm1(-4 * Math.exp(chainLogProb(chain, x)))})`;
        const [left, right, top, bottom] = [i, i + 1, j, j + 1].map((k) => Math.round(k * size / cells));
        pen.fillRect(left, top, right - left, bottom - top);   // whole pixels: no seams
      }
    }
    pen.fillStyle = colour("--second");
    for (const [x, y] of rows) {
      pen.beginPath();
      pen.arc((x / LIMIT + 1) / 2 * size, (1 - y / LIMIT) / 2 * size, 2, 0, 7);
      pen.fill();
    }
    get("said").textContent = `${rows.length} points, ${steps} of ${STEPS} steps`
      + (loss === null ? "" : `, mean log p ${(-loss).toFixed(3).replace("-", "−")} nats`);
    get("learned").textContent = JSON.stringify(chain.map(({ net }) => ({ net })));
  }
  function run() {
    if (!running) return;
    const end = performance.now() + 30;
    while (performance.now() < end && steps < STEPS) {
      loss = step(rows);
      steps += 1;
    }
    if (steps === STEPS) {
      loss = lossAndGradient(chain, rows)[0];   // after the last step
      train(false);
    }
    draw();
    if (running) requestAnimationFrame(run);
  }
  const train = (on) => {
    running = on && rows.length > 1;
    if (running && steps === STEPS) reset();
    get("train").textContent = running ? "stop" : steps === STEPS ? "train again" : "train";
    if (running) requestAnimationFrame(run);
  };
  const add = (event) => {
    const box = canvas.getBoundingClientRect();
    rows.push([((event.clientX - box.left) / box.width * 2 - 1) * LIMIT,
      (1 - (event.clientY - box.top) / box.height * 2) * LIMIT]);
    draw();
  };
  canvas.addEventListener("pointerdown", add);
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) add(event); });
  get("moons").addEventListener("click", () => { rows = twoMoons(300, generator(1)); draw(); });
  get("clear").addEventListener("click", () => { rows = []; reset(); train(false); });
  get("train").addEventListener("click", () => train(!running));
  get("layers").addEventListener("input", () => {
    get("count").textContent = get("layers").value;
    reset();
    train(false);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  reset();
}

if (typeof document !== "undefined" && document.getElementById("points")) learningPage();
