import assert from "node:assert/strict";
import test from "node:test";

import { inks } from "../../../app/room/heatmap.mjs";
import { hasSpread, shownMap } from "../../../app/room/maps.mjs";

const map = (name, canvas = {}) => ({ title: name, state: "heatmap not validated", note: "", canvas });
const at = (changes) => ({
  picture: { maps: { disc: { mean: map("stored"), spread: null } } }, check: { state: "waiting", maps: {} }, others: new Map(), ...changes,
});

test("a stored map is shown until it is computed again", () => {
  assert.equal(shownMap(at(), "disc", "", "mean").title, "stored");
  const check = { state: "same", maps: { disc: { mean: map("again"), spread: map("spread") } } };
  assert.equal(shownMap(at({ check }), "disc", "", "mean").title, "again");
  assert.equal(shownMap(at({ check }), "disc", "", "spread").title, "spread");
  assert.ok(hasSpread(at({ check }), "disc", "") && !hasSpread(at(), "disc", ""));
});

test("there is no map of a score that is not shown, and none of a label whose maps have failed", () => {
  const refused = at({ check: { state: "refused", maps: {} } });
  assert.equal(shownMap(refused, "disc", "", "mean").canvas, null);
  const failed = { ...map("failed", null), state: "heatmap failed" };
  const others = new Map([["EigenCAM disc", { mean: map("other"), spread: null }]]);
  const picture = { maps: { disc: { mean: failed, spread: null } } };
  assert.equal(shownMap(at({ picture, others }), "disc", "EigenCAM", "mean").title, "failed");
});

test("another method's map is waited for in words", () => {
  assert.equal(shownMap(at(), "disc", "EigenCAM", "mean").note, "Computing the heatmap …");
  const failed = new Map([["EigenCAM disc", { failed: "It could not be." }]]);
  assert.equal(shownMap(at({ others: failed }), "disc", "EigenCAM", "mean").note, "It could not be.");
});

test("a map that was not kept and cannot be computed says so", () => {
  const picture = { maps: { disc: { mean: map("", null), spread: null } } };
  const found = shownMap(at({ picture, check: { state: "unchecked", maps: {} } }), "disc", "", "mean");
  assert.match(found.note, /keeps no heatmap of “disc”, and it could not be computed/);
});

test("a strength's pixel has its colour and is as opaque as it is strong", () => {
  const colours = Array.from({ length: 768 }, (_, place) => (place * 7) % 256);
  const bytes = new Uint8Array(inks(colours).buffer);
  for (const strength of [0, 1, 128, 255]) {
    assert.deepEqual([...bytes.slice(4 * strength, 4 * strength + 4)], [...colours.slice(3 * strength, 3 * strength + 3), strength]);
  }
});
