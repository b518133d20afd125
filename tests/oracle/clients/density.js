// A density in JavaScript that nfref check --process asks: two logistic columns, one of which
// moves with the other.
//
//     nfref check --process "node density.js"
//
// `node density.js wrong` forgets the scale of the second column.
'use strict';

const readline = require('readline');

const wrong = process.argv[2] === 'wrong';
const DIM = 2;
const SCALE = [1.0, 0.5];
const SLOPE = 0.75;

// Decimal text with 17 digits, "inf", "nan".
function number(text) {
  return Number(text.replace('inf', 'Infinity'));  // of "nan" it makes NaN
}

// Numbers of JSON, the shortest that are read back to the same bits, or text.
function written(value) {
  return Number.isFinite(value) ? value : String(value).replace('Infinity', 'inf').toLowerCase();
}

function logLogistic(u) {
  const a = Math.abs(u);
  return -a - 2 * Math.log1p(Math.exp(-a));
}

function logProb(row) {
  const u = row[0] / SCALE[0];
  const v = (row[1] - SLOPE * row[0]) / SCALE[1];
  return logLogistic(u) - Math.log(SCALE[0])
    + logLogistic(v) - (wrong ? 0 : Math.log(SCALE[1]));
}

// A generator with a seed (mulberry32); two of its numbers make one of 53 bits.
function uniforms(seed) {
  let state = seed >>> 0;
  function word() {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  return () => ((word() >>> 6) * 134217728 + (word() >>> 5) + 0.5) / 9007199254740992;
}

function sample(n, seed) {
  const next = uniforms(seed);
  const logistic = () => { const p = next(); return Math.log(p) - Math.log1p(-p); };
  const values = [];
  for (let k = 0; k < n; k++) {
    const first = SCALE[0] * logistic();
    values.push(first, SLOPE * first + SCALE[1] * logistic());
  }
  return values;
}

function answer(question) {
  if (question.ask === 'sample') {
    return { values: sample(question.n, question.seed).map(written) };
  }
  if (question.ask === 'log_prob') {
    const numbers = question.rows.map(number);
    const found = [];
    for (let k = 0; k < question.n; k++) {
      found.push(written(logProb(numbers.slice(k * DIM, (k + 1) * DIM))));
    }
    return { log_prob: found };
  }
  return { error: `cannot ${question.ask}` };
}

function say(object) {
  process.stdout.write(JSON.stringify(object) + '\n');
}

say({ nfref: 1, dim: DIM, can: ['log_prob', 'sample'], numbers: 'decimal' });
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  say(answer(JSON.parse(line)));
});
