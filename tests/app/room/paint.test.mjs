import assert from "node:assert/strict";
import test from "node:test";

import { atOnePixel, fitted, toImage } from "../../../app/room/geometry.mjs";
import { chosen, paint, pyramid } from "../../../app/room/paint.mjs";

const [rows, columns] = [300, 420];
const levels = Uint16Array.from({ length: rows * columns }, (_, place) => (place * 7919) % 4096);
const shades = Uint8ClampedArray.from({ length: 4096 }, (_, level) => level >> 4);
const image = { rows, columns, aspect: 1 };

function painted(view, { width, height, ratio = 1 }, of = levels) {
  const target = new Uint32Array(width * height);
  paint(target, { width, height, ratio }, pyramid(of, rows, columns, 32), image, view, shades);
  return target;
}

test("at one to one every pixel of the screen is a pixel of the image, however it is turned", () => {
  for (const turns of [0, 1, 2, 3]) {
    for (const mirrored of [false, true]) {
      const pane = { width: 500, height: 450 };
      const view = atOnePixel({ zoom: 1, centre: { x: 201, y: 97 }, turns, mirrored }, image, pane, 1);
      const found = painted(view, pane);
      for (let y = 0; y < pane.height; y += 7) {
        for (let x = 0; x < pane.width; x += 5) {
          const { x: column, y: row } = toImage(view, image, pane, { x: x + 0.5, y: y + 0.5 });
          const inside = column >= 0 && row >= 0 && column < columns && row < rows;
          const wanted = inside ? levels[Math.floor(row) * columns + Math.floor(column)] >> 4 : 0;
          assert.equal(found[y * pane.width + x] & 0xff, wanted, `${turns} ${mirrored} ${x} ${y}`);
        }
      }
    }
  }
});

test("a ramp that is shrunk or magnified stays a ramp", () => {
  const ramp = Uint16Array.from({ length: rows * columns }, (_, place) => 8 * (place % columns));
  for (const pane of [{ width: 100, height: 90 }, { width: 1200, height: 1000 }]) {
    const view = fitted({ zoom: 1, centre: { x: 0, y: 0 }, turns: 0, mirrored: false }, image, pane);
    const found = painted(view, pane, ramp);
    for (let x = 1; x < pane.width - 1; x += 1) {
      const wanted = (8 * (toImage(view, image, pane, { x: x + 0.5, y: 40 }).x - 0.5)) / 16;
      assert.ok(Math.abs((found[(pane.height >> 1) * pane.width + x] & 0xff) - wanted) < 1.6, `${x}`);
    }
  }
});

test("a shrunk image is averaged, not sampled: stripes become gray", () => {
  const stripes = Uint16Array.from({ length: rows * columns }, (_, place) => 4095 * (place % 2));
  const pane = { width: 105, height: 75 };
  const view = fitted({ zoom: 1, centre: { x: 0, y: 0 }, turns: 0, mirrored: false }, image, pane);
  for (const pixel of painted(view, pane, stripes)) assert.ok(Math.abs((pixel & 0xff) - 128) <= 1);
});

test("the copy that is painted is never magnified by more than rounding", () => {
  const copies = pyramid(levels, rows, columns, 32);
  assert.ok(copies.length > 2);
  assert.equal(chosen(copies, 1), 0);
  assert.equal(chosen(copies, 0.5), 1);
  assert.equal(chosen(copies, 0.51), 0);
});
