import assert from "node:assert/strict";
import test from "node:test";

import { dragged, nearest, shades, span, windowed } from "../../../app/room/window.mjs";

const levels = Float32Array.from({ length: 4096 }, (_, level) => level);

test("a linear window spans black to white as PS3.3 C.11.2.1.2.1 has it", () => {
  const window = { center: 2048, width: 4096, function: "LINEAR" };
  assert.equal(windowed(0, window), 0);
  assert.equal(windowed(2047.5, window), 0.5);
  assert.equal(windowed(4095, window), 1);
});

test("a window of width 1 is a threshold", () => {
  assert.deepEqual([9, 10].map((value) => windowed(value, { center: 10, width: 1 })), [0, 1]);
});

test("a sigmoid is a half at its centre and never white", () => {
  const window = { center: 100, width: 50, function: "SIGMOID" };
  assert.equal(windowed(100, window), 0.5);
  assert.ok(windowed(1000, window) <= 1 && windowed(125, window) > 0.85);
});

test("what a narrow window clips comes back in a wide one", () => {
  const narrow = shades({ modality: levels }, { center: 1000, width: 100 });
  const wide = shades({ modality: levels }, { center: 2048, width: 4096 });
  assert.equal(new Set(narrow.subarray(2000)).size, 1);
  assert.ok(new Set(wide.subarray(2000)).size > 100);
});

test("MONOCHROME1 is turned around, twice turned is as before, and padding stays black", () => {
  const image = { modality: levels, inverted: true, padding: [0, 4] };
  const window = { center: 2048, width: 4096, function: "LINEAR" };
  const [once, twice] = [shades(image, window), shades(image, { ...window, inverted: true })];
  for (let level = 5; level < 4096; level += 97) assert.ok(Math.abs(255 - once[level] - twice[level]) <= 1);
  assert.deepEqual([...once.subarray(0, 5)], [0, 0, 0, 0, 0]);
  assert.ok(once[5] > 250);
});

test("a table is shown as it is, whatever the polarity of the image", () => {
  const table = Uint16Array.from(levels, (level) => 16 * level);
  assert.deepEqual(shades({ modality: levels, inverted: true }, { table }), shades({ modality: levels }, { table }));
});

test("right widens a window, down raises its centre, and neither leaves the range by far", () => {
  const range = span(levels);
  const before = { center: 2000, width: 1000, function: "LINEAR" };
  assert.ok(dragged(before, 50, 0, range).width > 1000);
  assert.ok(dragged(before, 0, 50, range).center > 2000);
  assert.ok(dragged(before, -1e6, -1e6, range).width >= 1);
  assert.ok(dragged(before, 1e6, 1e6, range).center <= range.high + range.width / 2);
});

test("the window nearest to a table that is a window is that window", () => {
  const window = { center: 1500, width: 800, function: "LINEAR" };
  const table = Uint16Array.from(levels, (level) => Math.round(65535 * windowed(level, window)));
  const found = nearest(levels, table, false);
  assert.ok(Math.abs(found.center - 1500) < 4 && Math.abs(found.width - 800) < 8);
});
