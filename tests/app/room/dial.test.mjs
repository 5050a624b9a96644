import assert from "node:assert/strict";
import test from "node:test";

import { atPrevalence, percent, thousand } from "../../../app/room/dial.mjs";

const share = (value, low = null, high = null) => ({ value, low, high });

test("predictive values are those of Bayes' rule", () => {
  for (const [sensitivity, specificity, prevalence] of [[0.9, 0.8, 0.1], [0.5, 0.99, 0.01], [0.95, 0.6, 0.7]]) {
    const { ppv, npv } = atPrevalence(share(sensitivity), share(specificity), prevalence);
    const called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence);
    assert.ok(Math.abs(ppv.value - (sensitivity * prevalence) / called) < 1e-12);
    assert.ok(Math.abs(npv.value - (specificity * (1 - prevalence)) / (1 - called)) < 1e-12);
    assert.deepEqual([ppv.low, npv.high], [null, null]); // what has no interval gives none
  }
});

test("bounds hold the value, lie within those of both shares' worst and best, and shrink with them", () => {
  for (const [se, sp] of [[share(0.9, 0.8, 0.96), share(0.8, 0.7, 0.88)], [share(0.99, 0.9, 1), share(0.97, 0.92, 1)]]) {
    for (const prevalence of [0.005, 0.1, 0.8]) {
      const { ppv, npv } = atPrevalence(se, sp, prevalence);
      const worst = atPrevalence(share(se.low), share(sp.low), prevalence);
      const best = atPrevalence(share(Math.min(se.high, 1 - 1e-9)), share(Math.min(sp.high, 1 - 1e-9)), prevalence);
      for (const [name, found] of Object.entries({ ppv, npv })) {
        assert.ok(worst[name].value <= found.low && found.low < found.value && found.value < found.high);
        assert.ok(found.high <= best[name].value + 1e-6);
      }
    }
  }
});

test("what was never seen in a sample is no certainty", () => {
  const { ppv } = atPrevalence(share(0.5, 0.3, 0.7), share(1, 0.9, 1), 0.1);
  assert.equal(ppv.value, 1);
  assert.ok(ppv.low < 0.5 && ppv.high === 1);
  assert.equal(percent(ppv).slice(0, 8), "> 99.9 %");
  assert.equal(atPrevalence(share(0), share(1), 0.1).ppv, null); // it calls nobody
});

test("a thousand images add up", () => {
  const { called, right, passed, missed } = thousand(share(0.9), share(0.8), 0.1);
  assert.deepEqual({ called, right, passed, missed }, { called: 270, right: 90, passed: 730, missed: 10 });
});
