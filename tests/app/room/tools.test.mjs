import assert from "node:assert/strict";
import test from "node:test";

import { toScreen } from "../../../app/room/geometry.mjs";
import { ROOM_KEYS } from "../../../app/room/keys.mjs";
import { KEYS, LETTERS, TOOLS, flipped, pressed, turnedBy, typed, windowAfter } from "../../../app/room/tools.mjs";

const [image, pane] = [{ rows: 60, columns: 100, aspect: 1 }, { width: 200, height: 200 }];
const middle = { x: 50, y: 30 };
const view = { zoom: 1, centre: middle, turns: 1, mirrored: false };
const seen = (changed, point = { x: 70, y: 20 }) => {
  const { x, y } = toScreen(changed, image, pane, point);
  return [x - 100, y - 100].map((place) => Math.round(place) + 0);
};

test("a flip mirrors what is on the screen, also of a turned image", () => {
  for (const turns of [0, 1, 2, 3]) {
    for (const mirrored of [false, true]) {
      const before = { ...view, turns, mirrored };
      const [x, y] = seen(before);
      assert.deepEqual(seen(flipped(before, 0)), [0 - x, y]);
      assert.deepEqual(seen(flipped(before, 2)), [x, 0 - y]);
      assert.deepEqual(seen(turnedBy(before, 1)), [0 - y, x]); // to the right
      assert.deepEqual(seen(turnedBy(before, 3)), [y, 0 - x]);
    }
  }
});

test("every key is told once, and none does two things", () => {
  assert.equal(new Set(KEYS.map(([key]) => key)).size, KEYS.length);
  assert.equal(pressed({}, "a"), null); // the room's
  const tools = Object.entries(LETTERS).map(([tool, key]) => [pressed({}, key), { tool }]);
  for (const [found, wanted] of tools) assert.deepEqual(found, wanted);
  assert.deepEqual(Object.keys(LETTERS), Object.keys(TOOLS));
  const room = ROOM_KEYS.flatMap(([keys]) => keys.split(" "));
  assert.deepEqual(room.filter((key) => KEYS.some(([own]) => own === key)), []);
  assert.deepEqual(pressed({ state: { inverted: false } }, "i"), { inverted: true });
  assert.deepEqual(pressed({ state: { inverted: true } }, "I"), { inverted: false });
});

test("a table that is dragged becomes the window that comes nearest to it", () => {
  const modality = Float32Array.from({ length: 1000 }, (_, level) => level);
  const table = Uint16Array.from(modality, (level) => Math.round(65535 * Math.min(1, level / 500)));
  const found = windowAfter({ name: "LUT", table }, { modality, inverted: false }, 0, 0);
  assert.ok(Math.abs(found.center - 250) < 5 && Math.abs(found.width - 500) < 10 && found.name === "");
});

test("numbers that are typed are taken, and a width is positive", () => {
  const way = { name: "BONE", center: 10, width: 20, function: "SIGMOID" };
  assert.deepEqual(typed(way, {}, "center", -5), { function: "SIGMOID", center: -5, width: 20, name: "" });
  assert.ok(typed(way, {}, "width", -5).width > 0);
});
