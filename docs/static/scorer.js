// The order of search results: lessons first, then other pages for learning, then the rest.
"use strict";

const BEFORE = [["lessons/", 200], ["methods/", 100], ["truths/", 100], ["applications/", 100]];

// Sphinx's own scores (searchtools.js), and ``score`` on top of them.
var Scorer = {
  score: ([page, title, anchor, description, score]) =>
    score + (BEFORE.find(([folder]) => page.startsWith(folder)) ?? ["", 0])[1],
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
